"""Maps under attack: which withstand passive fooling, how far, and why.

Honest classifiers of real objects and of drawn ones are fine-tuned until a map shows a hoax, with the weight of that
aim swept over three decades: each attack is a point between a map that is fooled and decisions that are lost.
Reported are curves, and what every map shows where 1 % and 5 % of the confident decisions are lost, on images that no
attacker saw.

The rule for the default, written down before the runs. Candidates are the reductions of DiffGradCAM with every other
class, and with the five strongest. Compared is the correlation with the hoax where SHAM against Grad-CAM (true class,
all classes) costs 5 % of the confident decisions, over the real settings (cut-outs with 1000 classes, Fashion-MNIST
with 10; of two classes all reductions are one map). A candidate takes the place of the present default if, paired by
setting, attack and seed, its correlation with the hoax is lower on average, the 95 % interval of the difference
excludes zero, the median agreement of its honest maps with Grad-CAM's is at least 0.9, and its honest maps agree with
occlusion no worse than by 0.02. Of several that do, the lowest. The code evaluates it.

Every point is a piece that is kept when it is done: --minutes stops in time, --resume goes on another day. The most
telling points come first, and what was left out is named in the results. Trained models are kept in --models.

Writes attacks.json with every number, points.csv, and figures of the frontier and of the reason.
"""
