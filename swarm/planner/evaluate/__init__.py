"""Whether a model is fit to plan: recorded answers, run through the compiler."""
