import pytest

from speechshap.attribution import MethodChoice, SpectralGrid, find_method, parse_methods
from speechshap.errors import UserError

MANY = "gradient_shap(n_samples=64),occlusion(stretch_frames=20, n_draws=4),integrated_gradients"


def settings_of(name: str, **values: object) -> object:
    return find_method(name).settings(**values)


def test_a_list_of_methods() -> None:
    assert parse_methods(MANY) == [
        MethodChoice("gradient_shap", settings_of("gradient_shap", n_samples=64), settings_of("gradient_shap")),
        MethodChoice("occlusion", settings_of("occlusion", stretch_frames=20, n_draws=4), settings_of("occlusion")),
        MethodChoice("integrated_gradients", *[settings_of("integrated_gradients")] * 2),
    ]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("gradient_shap(n_samples=64)", "n_samples", 64),
        ("gradient_shap( n_samples = auto )", "n_samples", "auto"),
        ("gradient_shap (tolerance=1e-2)", "tolerance", 0.01),
        ("gradient_shap(scheme=uniform)", "scheme", "uniform"),
        ('gradient_shap(scheme="uniform")', "scheme", "uniform"),
        ("gradient_shap(snr_db=-3)", "snr_db", -3.0),
        ("lime(features=cells)", "features", "cells"),
        ("occlusion(baselines=dataset:neutral)", "baselines", "dataset:neutral"),
        ("occlusion(baselines=dataset:calm (a, b))", "baselines", "dataset:calm (a, b)"),
        ('occlusion(baselines="dataset:calm, low :)")', "baselines", "dataset:calm, low :)"),
        (r'occlusion(baselines="dataset:\"so\" = so\\la")', "baselines", r'dataset:"so" = so\la'),
        ('occlusion(targets="happy, sad - neutral")', "targets", "happy,sad - neutral"),
    ],
)
def test_values_are_of_the_type_of_their_setting(text: str, name: str, value: object) -> None:
    (choice,) = parse_methods(text)
    found = getattr(choice.settings, name)
    assert found == value
    assert type(found) is type(value)
    assert parse_methods(str(choice)) == [choice]


def test_the_text_has_what_differs_from_the_defaults() -> None:
    methods = "occlusion(n_draws=1, stretch_frames=5), lime(ridge=1), gradient_shap(calibration=2,n_samples=50)"
    assert [str(choice) for choice in parse_methods(methods)] == ["occlusion", "lime", "gradient_shap(calibration=2)"]


def test_common_settings_go_to_the_methods_that_have_them_and_without_saying() -> None:
    spectrum = SpectralGrid(num_mel_bands=8)
    common = {"seed": 3, "baselines": "silence", "n_draws": 2, "spectrum": spectrum}
    shap, drops = parse_methods("gradient_shap(seed=4), occlusion", **common)
    assert shap.settings == settings_of("gradient_shap", seed=4, baselines="silence", spectrum=spectrum)
    assert drops.settings == settings_of("occlusion", seed=3, baselines="silence", n_draws=2)
    assert (str(shap), str(drops)) == ("gradient_shap(seed=4)", "occlusion")
    assert parse_methods(f"{shap}, {drops}", **common) == [shap, drops]


def test_a_default_that_is_not_the_common_one_is_said() -> None:
    (choice,) = parse_methods("occlusion(baselines=noise)", baselines="silence")
    assert str(choice) == "occlusion(baselines=noise)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gradientshap", "there is no method 'gradientshap'; did you mean gradient_shap[?] expected some of .*lime, "),
        ("xyz", "there is no method 'xyz'; expected some of .*gradient_shap, "),
        (
            "occlusion(n_points=3)",
            "occlusion has no setting 'n_points' that a text can give; .*expected some of .*n_draws",
        ),
        ("occlusion(n_draw=3)", "occlusion has no setting 'n_draw' .*did you mean n_draws[?]"),
        ("gradient_shap(spectrum=64)", "gradient_shap has no setting 'spectrum' that a text can give"),
        ("gradient_shap(density=1)", "gradient_shap has no setting 'density' that a text can give"),
        ("occlusion(n_draws=many)", "n_draws of occlusion is 'many'; expected an integer$"),
        ("occlusion(n_draws=2.5)", "n_draws of occlusion is '2.5'; expected an integer$"),
        ("occlusion(snr_db=low)", "snr_db of occlusion is 'low'; expected a number"),
        ("gradient_shap(n_samples=all)", "n_samples of gradient_shap is 'all'; expected an integer, auto"),
        ("lime(features=words)", "features of lime is 'words'; expected stretches, bands, cells"),
        ("occlusion(n_draws=0)", "occlusion: n_draws is 0; expected 1 at least"),
        ('occlusion(n_draws="2" or 3)', 'n_draws of occlusion is "2" or 3; expected one text in quotation marks'),
        ("occlusion(5)", "'5' of occlusion has no value; expected setting=value"),
        ("occlusion(n_draws=2, n_draws=3)", "occlusion has n_draws twice; leave one out"),
        ("occlusion(n_draws=2", "a parenthesis is not closed in 'occlusion.n_draws=2'"),
        ("occlusion, lime(", "a parenthesis is not closed"),
        ("occlusion)", "a parenthesis is closed and not opened"),
        ('occlusion(baselines="noise)', "a quotation mark is not closed"),
        ("occlusion(n_draws=2) lime", "'occlusion.n_draws=2. lime' cannot be read; expected a method, as in"),
        ("seed=3", "'seed=3' cannot be read"),
        ("", "a name is missing in ''"),
        ("occlusion,,lime", "a name is missing in 'occlusion,,lime'; expected one, or several with commas"),
        ("occlusion, lime, occlusion(n_draws=1)", "occlusion is there twice; leave one out"),
        ("lime(seed=1), lime(seed=1)", r"lime.seed=1. is there twice"),
    ],
)
def test_a_text_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^`methods`: {message}") as error:
        parse_methods(text)
    assert "\n" not in str(error.value)
