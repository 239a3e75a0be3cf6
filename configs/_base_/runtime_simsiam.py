# SimSiam's: the predictor keeps its learning rate, the encoder's falls with the cosine.
_base_ = ['./runtime_ssl.py']
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True))))
method_hooks = [dict(type='medkit.FixPredictorLRHook')]
