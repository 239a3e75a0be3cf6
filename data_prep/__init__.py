"""From a raw export of medical images to a clean COCO data set: a plain library and a command line, without torch.

Commands: ``python -m data_prep EXPORT OUT`` cleans and converts, ``python -m data_prep.phantom OUT`` writes a phantom.
"""

__version__ = "0.1.0"  # the one of medkit, which importing would cost; a test compares them
