"""Which map is better? Localization with known truth, faithfulness to the prediction, and agreement with Grad-CAM.

Localization: maps for "A rather than B" on images of two objects A and B with known masks. The classifiers were trained
on single objects, and all images count, whatever the prediction. Faithfulness: the predicted class against its
strongest rival, with insertion and deletion curves, infidelity and sensitivity, on scenes of one and two objects and on
photographs. Agreement: correlation with the plain maps on the same images. Intervals are bootstrapped over images,
within each trained model; all views of a photograph are resampled together.

--model, --weights and --data study your own model or images (a folder for each class, such as ImageNet's validation
set) instead. Under torchrun --nproc-per-node K -m benchmarks faithfulness, each process takes its share of the images,
and the numbers are the same. --resume continues an interrupted run.

--studies chooses among this comparison and the tests of the field: mosaics (gridpg), maps of two classes (classes),
randomised parameters (parameters), hidden regions and the unit of a map (nats), and removal of pixels (removal). Each
of these has a record of its own, such as gridpg.json and gridpg.csv; studies.png shows them.

Writes faithfulness.json with every number of the comparison, tables as CSV, and faithfulness.png.
"""
