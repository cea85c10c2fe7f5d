"""Maps under attack: which maps withstand passive fooling, by how much, and why.

Clean classifiers of real objects and of drawn glyphs are fine-tuned until a map shows a hoax map. The weight of the map
loss varies over three decades. Each manipulated model is a point: the share of confident predictions that it keeps, and
the correlation of every map with the hoax map and with the map of the clean model. Reported are curves, and the best
attack within an accuracy budget of 1 % and 5 % of the confident predictions, on images that the attacker never saw.

The rule for the default reduction was written down before the runs. Candidates are the reductions of DiffGradCAM
against every other class and against the five strongest rivals. They are compared under SHAM against Grad-CAM (true
class, all classes) with an accuracy budget of 5 %, in the real settings. These are cut-outs with 1000 classes and
Fashion-MNIST with 10 (with two classes all reductions give one map). A candidate replaces the present default under
four conditions. Paired by setting, attack and seed, its correlation with the hoax map is lower on average. The 95 %
interval of the difference excludes zero. The median correlation of its clean maps with Grad-CAM's is at least 0.9. The
correlation of its clean maps with occlusion is lower by at most 0.02. Of several such candidates, the one with the
lowest correlation with the hoax map is chosen. The code evaluates the rule.

A second study, --studies owner, has attacks that a model's owner has a motive for. They are a hoax map for one class,
whitewash of a model that decides by a tag, moved features, and maps that are destroyed or omit a part. Two more are
training from scratch and an attack on DiffGradCAM++. It writes owner.json, owner.csv and owner.png.

A third study, --studies scratch, compares training with the hoax map from the first step, as the paper trains, with
fine-tuning, on networks like ResNet and DenseNet. A GPU can be shared by several processes: torchrun --standalone
--nproc-per-node 6 -m benchmarks attacks --studies scratch --device cuda:0. It writes scratch.json, scratch.csv and
scratch.png. Points of an earlier run or of another machine are not measured again with --measured FILE.

Every point is kept when it is finished: --minutes ends a run in time, --resume continues it later. The most informative
points come first, and the results name what was left out. Trained models are kept in --models.

Writes attacks.json with every number, points.csv, and two figures, frontier.png and reason.png.
"""
