"""Is it the better map? Localization of contrasts with known truth, faithfulness to the decision, agreement.

Localization: images of two objects A and B, drawn with their masks, and the question "A rather than B" put to
classifiers that were trained on single objects; all images count, whatever the model makes of them. Decision: the
predicted class against its strongest rival; insertion and deletion curves, infidelity and sensitivity, on scenes of one
object and of two and on photographs. Agreement: correlation with the plain maps on the same images. Intervals are
bootstrapped over images, within each of the trained models; all views of a photograph are resampled together.

--model, --weights and --data study your own model or folder of images (a folder for each class, such as ImageNet's
validation set) in place of all this. Under torchrun --nproc-per-node K -m benchmarks faithfulness every process takes
its part of the images; the numbers are the same. A run that was stopped goes on with --resume.

Writes faithfulness.json with every number, tables as CSV, and faithfulness.png.
"""
