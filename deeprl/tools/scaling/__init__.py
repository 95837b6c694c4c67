"""`deeprl scaling`: how the best batch size, the best learning rate, data and compute depend on the replay ratio.

Rybkin, Nauman, Fu, Snell, Abbeel, Levine and Kumar, "Value-Based Deep RL Scales Predictably" (2025): on small runs laws are fitted, and
extrapolated to larger replay ratios and budgets.
"""
