"""The lab's mathematics on NumPy arrays: finite MDPs, planners, risk measures, uncertainty sets, least squares, exploration bonuses."""
