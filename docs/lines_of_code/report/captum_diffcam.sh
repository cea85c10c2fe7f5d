captum-diffcam explain --images photos --model resnet18 --weights mine.pt --out report
