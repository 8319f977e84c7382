"""Built-in predictors, one plug-in a module, installed as `nasplat.predictors`."""

if __name__ != "nasplat.predictors":
    raise ImportError("this folder is installed as nasplat.predictors: use nasplat.load('predictors', name)")
