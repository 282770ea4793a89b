"""The order of training: stages from data to checkpoint, for one learner or several."""
