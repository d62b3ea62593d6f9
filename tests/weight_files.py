"""Writes files of weights as PyTorch and Keras do, byte by byte, so that tests need neither."""

import io
import json
import pickle
import struct
import zipfile

import h5py

from brainjax.weights.keras_file import class_name


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def numbers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def pickled_tensor(key, count, shape, strides, offset=0, storage=b"FloatStorage", view=b""):
    """What torch.save writes of one tensor, opcode by opcode."""
    where = b"(" + text("storage") + b"ctorch\n" + storage + b"\n" + text(key) + text("cpu")
    where += b"J" + struct.pack("<i", count) + view + b"tQ"
    ordered = b"ccollections\nOrderedDict\n)R"
    place = where + b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + b"\x89" + ordered + b"tR"


def write_pth(path, tensors, *, listing=None):
    """A .pth file as PyTorch writes it; `listing` replaces its pickle."""
    if listing is None:
        body = b""
        for i, (name, value) in enumerate(tensors.items()):
            strides = [s // value.itemsize for s in value.strides]
            body += text(name) + pickled_tensor(str(i), value.size, value.shape, strides) + b"s"
        listing = b"\x80\x02ccollections\nOrderedDict\n)R" + body + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", listing)
        archive.writestr("archive/byteorder", "little")
        for i, value in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", value.tobytes())
    return path


def write_old_pth(path, tensors, *, rebuild=b"_rebuild_tensor_v2", view=b"N", facts=None):
    """A .pth file as PyTorch wrote it before 1.6, and torchvision publishes still: five pickles and raw numbers."""
    body = b""
    for i, (name, value) in enumerate(tensors.items()):
        strides = [s // value.itemsize for s in value.strides]
        tensor = pickled_tensor(f"9{i}", value.size, value.shape, strides, view=view)
        body += text(name) + tensor.replace(b"_rebuild_tensor_v2", rebuild) + b"s"
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}} | (facts or {})
    keys = [f"9{i}" for i in range(len(tensors))]
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, facts):
            file.write(pickle.dumps(value, 2))
        file.write(b"\x80\x02ccollections\nOrderedDict\n)R" + body + b".")
        file.write(pickle.dumps(keys, 2))
        for value in tensors.values():
            file.write(struct.pack("<q", value.size) + value.tobytes())
    return path


def write_keras3(file, layers):
    """The layout of Keras 3: layers by class and number; arrays that are layers themselves make a nested model."""

    def write(group, layers):
        count = {}
        for kind, _, arrays in layers:
            kind = class_name(kind)
            number = count[kind] = count.get(kind, -1) + 1
            own = group.create_group(f"layers/{kind}_{number}" if number else f"layers/{kind}")
            if is_model(arrays):
                write(own, arrays)
                continue
            for i, array in enumerate(arrays):
                own[f"vars/{i}"] = array

    with h5py.File(file, "w") as h5:
        write(h5, layers)


def is_model(arrays):
    return bool(arrays) and isinstance(arrays[0], tuple)


def keras_config(layers):
    return {
        "layers": [
            {
                "class_name": kind,
                "config": {"name": name, **(keras_config(arrays) if is_model(arrays) else {})},
            }
            for kind, name, arrays in layers
        ]
    }


def write_keras(path, layers):
    """A file of the layout that its suffix says."""
    if path.suffix == ".keras":
        buffer = io.BytesIO()
        write_keras3(buffer, layers)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"config": keras_config(layers)}))
            archive.writestr("model.weights.h5", buffer.getvalue())
    elif path.name.endswith(".weights.h5"):
        write_keras3(path, layers)
    else:
        with h5py.File(path, "w") as h5:
            group = h5.create_group("model_weights")
            group.attrs["layer_names"] = [name.encode() for _, name, _ in layers]
            for _, name, arrays in layers:
                inside = arrays if is_model(arrays) else [("", name, arrays)]
                each = {f"{n}/w{i}": array for _, n, own in inside for i, array in enumerate(own)}
                own = group.create_group(name)
                own.attrs["weight_names"] = list(each)
                for weight, array in each.items():
                    own[weight] = array
    return path
