"""The shapes of models that can be trained: their parameters are those that the catalog counts over the weights."""

import pytest
from transformers import AutoConfig

from safechain_ray import catalog
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.demo import model_path


@pytest.mark.parametrize("name", catalog.shapes())
def test_the_parameters_of_a_shape_are_those_of_its_model(name: str):
    billions = catalog.shapes()[name].parameters / 1e9
    assert billions == pytest.approx(catalog.models()[name].parameters, abs=0.006)


def test_the_shape_of_a_config_has_its_parameters():
    from transformers import AutoModelForCausalLM

    path = model_path("demo-reasoner")
    shape = ModelShape.of_config("demo-reasoner", AutoConfig.from_pretrained(path))
    model = AutoModelForCausalLM.from_pretrained(path)
    norms = sum(weights.numel() for name, weights in model.named_parameters() if "norm" in name)
    assert shape.parameters == model.num_parameters() - norms
    assert shape.adapter_parameters(1) * 8 == shape.adapter_parameters(8)
