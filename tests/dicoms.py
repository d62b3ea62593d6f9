"""DICOM series to read: a small oblique stack, a file a slice or all in one."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from volumes import rotation

ROWS, COLUMNS, SLICES = 6, 5, 4
PIXEL = (1.5, 0.5)  # mm between rows, between columns
STEP = 3.0
SERIES = generate_uid()
VOXELS = np.random.default_rng(0).integers(0, 1000, (SLICES, ROWS, COLUMNS)).astype(np.uint16)
TURN = rotation((20, -10, 5))  # columns: directions of rising column and row number, and the normal
START = np.array([-40.0, 12.5, 7.25])

# Of patient and study, which what refers to a series repeats.
TAGS = {
    **{"PatientID": "P1", "PatientName": "A^B", "PatientBirthDate": "", "PatientSex": ""},
    **{"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()},
    **{"StudyID": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": ""},
    **{"ReferringPhysicianName": "", "Modality": "MR", "SliceThickness": STEP},
}


def image(pixels: np.ndarray, **tags) -> Dataset:
    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out.file_meta.MediaStorageSOPClassUID = out.SOPClassUID = MRImageStorage
    out.file_meta.MediaStorageSOPInstanceUID = out.SOPInstanceUID = generate_uid()
    out.SeriesInstanceUID, out.SeriesNumber, out.SeriesDescription = SERIES, 3, "t1"
    out.Rows, out.Columns = pixels.shape[-2:]
    out.BitsAllocated = out.BitsStored = 16
    out.HighBit, out.PixelRepresentation, out.SamplesPerPixel = 15, int(pixels.dtype.kind == "i"), 1
    out.PhotometricInterpretation = "MONOCHROME2"
    out.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(out, name, value)
    return out


def place(z: int) -> list[float]:
    return (START + TURN[:, 2] * STEP * z).round(6).tolist()


def slices(**tags) -> list[Dataset]:
    angle = TURN[:, :2].T.ravel().round(8).tolist()
    where = {"PixelSpacing": list(PIXEL), "ImageOrientationPatient": angle, **tags}
    return [image(VOXELS[z], **{"ImagePositionPatient": place(z), **where}) for z in range(SLICES)]


def write(folder, slices, names="dacb"):
    folder.mkdir(exist_ok=True)
    for name, tags in zip(names, slices, strict=False):
        tags.save_as(folder / name, enforce_file_format=True)
    return folder


def multi_frame(order=(2, 0, 3, 1), **tags) -> Dataset:
    """All slices in one file, out of order."""

    def group(**fields):
        inner = Dataset()
        for name, value in fields.items():
            setattr(inner, name, value)
        return Sequence([inner])

    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = group(PixelSpacing=list(PIXEL), SliceThickness=STEP)
    angle = TURN[:, :2].T.ravel().round(8).tolist()
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=angle)
    for z in order:
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=place(z))
        frames.append(frame)
    fields = {
        "NumberOfFrames": len(order),
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }
    return image(VOXELS[list(order)], **fields, **tags)
