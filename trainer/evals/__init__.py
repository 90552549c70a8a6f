"""Evaluations of models; each says what it measured, on what, and what guessing would get.

The command   __main__, config (the recipe's [eval]), inputs (what is read), midway (during a training)
Models        encoder (a model as a function), models (weights by path), by_file (features by file)
Sets          eval_sets (which are there), vectors (their features), kept (tables under receipts), context (what steps
              share), side_by_side (all models), suite (all sets)
Evaluations   zeroshot and retrieval (of the recipe's own model, on a tar and on what was held out); of sets:
              suite (zero-shot), selecting (prompts), probing (linear, few-shot), searched (retrieval, geolocation),
              shifted (shifts of ImageNet), answers (people beside models), people (bias probes)
Results       judged (from scores to rows), tables (their columns)
"""
