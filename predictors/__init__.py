"""Built-in predictors, installed as `nasplat.predictors`. Each module is one plug-in; see `nasplat.plugins`."""

if __name__ != "nasplat.predictors":
    raise ImportError("this folder is installed as nasplat.predictors; use nasplat.load(\"predictors\", name)")
