//! Ranges, their messages, and that every parameter can be set by its name.

use mpg_policy::{Class, NodeView, ParamInfo, Params, PARAMS};
use proptest::prelude::*;

use super::values::{any_params, any_view, valid_params};

#[test]
fn the_defaults_are_valid() {
    Params::default().validate().expect("the defaults");
}

#[test]
fn every_parameter_has_a_row_of_its_own() {
    for info in &PARAMS {
        let same = |other: &&ParamInfo| other.name == info.name;
        assert_eq!(PARAMS.iter().filter(same).count(), 1);
        let mut params = Params::default();
        (info.set)(&mut params, info.low);
        assert_eq!((info.get)(&params), info.low, "{}", info.name);
        (info.set)(&mut params, info.high);
        assert_eq!((info.get)(&params), info.high, "{}", info.name);
        let others = PARAMS.iter().filter(|other| other.name != info.name);
        for other in others {
            assert_eq!(
                (other.get)(&params),
                (other.get)(&Params::default()),
                "{}",
                other.name
            );
        }
    }
}

#[test]
fn every_bound_is_named_with_value_range_and_what_to_do() {
    for info in &PARAMS {
        let beyond = [info.low.checked_sub(1), info.high.checked_add(1)];
        for value in beyond.into_iter().flatten() {
            let mut params = Params::default();
            // Out of the way of the limits that parameters set each other.
            params.slice_ns = params.starvation_bound_ns;
            (info.set)(&mut params, value);
            let error = params.validate().expect_err(info.name);
            assert_eq!(error.name, info.name);
            let message = error.to_string();
            assert!(
                message.starts_with(&format!("{} is ", info.name)),
                "{message}"
            );
            assert!(message.contains(", expected "), "{message}");
            assert!(message.contains("choose"), "{message}");
        }
    }
}

#[test]
fn messages_read_as_stated() {
    let mut params = Params::default();
    let error = params.set("slice-us", 5).expect_err("too short");
    assert!(
        error
            .to_string()
            .starts_with("slice-us is 5, expected 100 to 100000"),
        "{error}"
    );
    let error = params.set("lease", u64::MAX).expect_err("too long");
    assert!(
        error
            .to_string()
            .starts_with("lease is 65535, expected 0 to 1000: "),
        "{error}"
    );
    let error = params
        .set("slice-min-us", 6_000)
        .expect_err("longer than the slice");
    assert!(
        error
            .to_string()
            .starts_with("slice-min-us is 6000, expected 50 to 5000 (slice-us): "),
        "{error}"
    );
    let error = params.set("nice", 1).expect_err("not one of them");
    assert!(error.to_string().contains("slice-us"), "{error}");
    params.slice_min_ns = 1_500;
    let error = params.validate().expect_err("too short");
    assert!(
        error
            .to_string()
            .starts_with("slice-min-us is 1.500, expected 50 "),
        "{error}"
    );
    assert_eq!(
        params.set("slice-us", 5).expect_err("too short").name,
        "slice-us"
    );
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut params = Params::default();
    assert!(
        params.set("starvation-bound-us", 1_000).is_err(),
        "under the slice"
    );
    assert_eq!(params, Params::default());
    params.set("slice-us", 8_000).expect("in range");
    assert_eq!(params.slice_ns, 8_000_000);
}

proptest! {
    #[test]
    fn slices_are_within_the_bounds_of_their_class(params in valid_params(), view in any_view()) {
        let slice = |class| mpg_policy::slice_ns(class, &view, &params);
        let (latency, normal, batch) =
            (slice(Class::Latency), slice(Class::Normal), slice(Class::Batch));
        prop_assert!(latency <= normal && normal <= batch && normal <= params.slice_ns);
        prop_assert!(batch <= params.batch_slice_ns.max(params.slice_ns));
        prop_assert!(latency <= params.latency_slice_ns);
        prop_assert!(normal >= params.slice_min_ns);
        prop_assert!(latency >= params.slice_min_ns.min(params.latency_slice_ns));
    }

    #[test]
    fn a_round_of_batch_slices_fits_into_the_starvation_bound(
        params in valid_params(),
        view in any_view(),
    ) {
        let slice = mpg_policy::slice_ns(Class::Batch, &view, &params);
        let round = u128::from(slice) * u128::from(view.waiting_per_cpu() + 1);
        prop_assert!(
            round <= params.starvation_bound_ns.into() || slice == params.slice_min_ns
        );
    }

    #[test]
    fn no_slice_grows_with_the_queue(
        params in valid_params(),
        view in any_view(),
        more in any::<u32>(),
    ) {
        let longer = NodeView { custody: view.custody.saturating_add(more), ..view };
        for class in Class::ALL {
            let slice = |view| mpg_policy::slice_ns(class, view, &params);
            prop_assert!(slice(&longer) <= slice(&view));
        }
    }

    #[test]
    fn no_slice_is_zero_even_unvalidated(params in any_params(), view in any_view()) {
        for class in Class::ALL {
            prop_assert!(mpg_policy::slice_ns(class, &view, &params) > 0);
        }
    }
}
