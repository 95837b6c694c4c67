"""Papers: one file for each, with exactly the parts that the paper adds."""

if __name__ == "agents":  # a class imported under two names is two classes
    raise ImportError("this folder is imported as deeprl.agents; to use a package `agents` of your own, run `deeprl train`")
