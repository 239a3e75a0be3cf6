"""From a raw export of medical images to a clean COCO data set: a plain library and a command line, without torch.

Commands: ``python -m data_prep EXPORT OUT`` cleans and converts, ``python -m data_prep.phantom OUT`` writes a phantom.
"""
