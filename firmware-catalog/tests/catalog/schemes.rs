//! Versions are typed: read strictly, compared only where there is an order.

use std::cmp::Ordering;

use firmware_catalog::{
    Answer, Scheme,
    scheme::{SchemeError, Version},
};
use playbooks::applies::firmware_range;

fn read(scheme: Scheme, text: &str) -> Version {
    scheme.parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_drivers_own_form_is_read_and_no_other() {
    for (scheme, good) in [
        (Scheme::Mlx5, &["22.43.3608 (MT_0000000359)", "22.43.3608", "14.32.1010"][..]),
        (Scheme::IntelNvm, &["4.40 0x8001c967 1.3534.0", "9.30 0x8000e5f3 1.3429.0", "0x8001c967"]),
        (Scheme::IntelEetrack, &["0x00012b2c, 1.3429.0", "0x00012b2c"]),
        (Scheme::Igb, &["1.63, 0x800009fa", "1.63, 0x800009fa, 1.949.0", " 3.25-0"]),
        (Scheme::E1000e, &["2.1-2"]),
        (Scheme::Bnxt, &["233.0.151.0/pkg 233.1.135.7", "236.1.167.0"]),
        (Scheme::Sfc, &["8.0.0.1015 rx1 tx1", "8.0.0.1015"]),
        (Scheme::Cxgb4, &["1.27.5.0, TP 0.1.4.9"]),
        (Scheme::Qede, &["mbi 15.10.6 [mfw 8.42.9.0]"]),
        (Scheme::Dotted, &["1", "1.2.3.4.5.6"]),
    ] {
        for text in good {
            assert_eq!(read(scheme, text).text(), text.trim(), "{scheme}");
        }
    }
    for (scheme, bad) in [
        (
            Scheme::Mlx5,
            &["22.43", "22.43.3608 MT_1", "22.43.3608 (", "+1.2.3", "22.43.3608.1", ""][..],
        ),
        (Scheme::Mlx5, &["22.43.3608 (MT_00000003590000)", "22.43.3608 (a b)", "99999999999.1.1"]),
        (Scheme::IntelNvm, &["4.40", "4.4 0x8001c967", "4.40 8001c967", "4.40 0x8001c967 1.2"]),
        (Scheme::IntelEetrack, &["1.63, 0x800009fa", "0x1234567890", "0x"]),
        (Scheme::Igb, &["1.63", "1.63,0x800009fa", "1.63, 0x800009fa, 1.2"]),
        (Scheme::Bnxt, &["233.0.151", "233.0.151.0/pkg", "233.0.151.0/pkg x"]),
        (Scheme::Sfc, &["8.0.0.1015 rx1", "8.0.0.1015 rx tx"]),
        (Scheme::Dotted, &["1.", "1..2", "1.2.3.4.5.6.7", "v1", "1.2-3", "-1"]),
    ] {
        for text in bad {
            let error = scheme.parse(text).expect_err(text);
            assert!(matches!(error, SchemeError::NotAVersion { .. }), "{error}");
        }
    }
    let long = "1.".repeat(50_000);
    assert!(Scheme::ALL.iter().all(|scheme| scheme.parse(&long).is_err()));
}

#[test]
fn versions_of_different_schemes_do_not_compare() {
    let texts = [
        (Scheme::Mlx5, "14.32.1010"),
        (Scheme::IntelNvm, "4.40 0x8001c967"),
        (Scheme::IntelEetrack, "0x8001c967"),
        (Scheme::Igb, "1.63, 0x800009fa"),
        (Scheme::E1000e, "2.1-2"),
        (Scheme::Bnxt, "233.0.151.0"),
        (Scheme::Sfc, "8.0.0.1015"),
        (Scheme::Cxgb4, "1.27.5.0"),
        (Scheme::Qede, "mbi 15.10.6"),
        (Scheme::Dotted, "14.32.1010"),
    ];
    assert_eq!(texts.len(), Scheme::ALL.len());
    for (left, one) in texts {
        for (right, other) in texts.into_iter().filter(|(right, _)| *right != left) {
            let error = read(left, one).compare(&read(right, other)).expect_err(one);
            assert!(matches!(error, SchemeError::Schemes { .. }), "{error}");
            assert!(read(left, one).same(&read(right, other)).is_err());
        }
    }
    let error = read(Scheme::Mlx5, "14.32.1010").compare(&read(Scheme::Dotted, "14.32.1010"));
    assert_eq!(
        error.unwrap_err().to_string(),
        "`14.32.1010` (mlx5) and `14.32.1010` (dotted) are numbered by different schemes: there is no \
         order between them"
    );
}

#[test]
fn the_order_is_of_numbers_and_only_where_there_is_one() {
    let order = |scheme: Scheme, left, right| read(scheme, left).compare(&read(scheme, right));
    assert_eq!(order(Scheme::Mlx5, "22.9.1", "22.10.1"), Ok(Ordering::Less));
    assert_eq!(order(Scheme::Mlx5, "22.43.3608 (MT_1)", "22.43.3608"), Ok(Ordering::Equal));
    assert_eq!(order(Scheme::IntelNvm, "4.40 0x1", "4.30 0x2"), Ok(Ordering::Greater));
    assert_eq!(order(Scheme::IntelNvm, "0x8001c967", "4.40 0x8001c967"), Ok(Ordering::Equal));
    assert_eq!(
        order(Scheme::Bnxt, "233.0.151.0/pkg 233.1.135.7", "233.0.151.0"),
        Ok(Ordering::Equal)
    );
    assert_eq!(
        order(Scheme::Bnxt, "233.0.151.0/pkg 233.1.135.7", "233.0.151.0/pkg 233.1.136.0"),
        Ok(Ordering::Less)
    );
    assert_eq!(order(Scheme::Dotted, "1.2", "1.2.0"), Ok(Ordering::Equal));
    for (scheme, left, right) in [
        (Scheme::IntelNvm, "4.40 0x1", "4.40 0x2"),
        (Scheme::IntelNvm, "0x1", "4.40 0x2"),
        (Scheme::IntelEetrack, "0x1", "0x2"),
        (Scheme::Sfc, "8.0.0.1015 rx0 tx0", "8.0.0.1015 rx1 tx1"),
    ] {
        assert!(matches!(order(scheme, left, right), Err(SchemeError::Builds { .. })), "{left}");
        assert_eq!(read(scheme, left).same(&read(scheme, right)), Ok(false));
    }
    let error = order(Scheme::Mlx5, "14.32.1010", "20.43.2566").unwrap_err();
    assert!(matches!(error, SchemeError::Branches { branches: (14, 20), .. }), "{error}");
}

/// The same version is one thing, the same build another.
#[test]
fn identity_asks_for_the_build() {
    for (scheme, left, right, is) in [
        (Scheme::Mlx5, "22.35.0302", "22.35.302 (MT_1)", Answer::Yes),
        (Scheme::Mlx5, "22.35.302 (MT_1)", "22.35.302 (MT_2)", Answer::No),
        (Scheme::IntelNvm, "0x8001c967", "4.40 0x8001c967 1.3534.0", Answer::Yes),
        (Scheme::IntelNvm, "4.40 0x8001c967 1.3500.0", "4.40 0x8001c967 1.3534.0", Answer::No),
        (Scheme::IntelNvm, "4.40 0x1", "4.40 0x2", Answer::No),
        (Scheme::IntelEetrack, "0x00012b2c, 1.3429.0", "0x12b2c", Answer::Yes),
        (Scheme::Sfc, "8.0.0.1015", "8.0.0.1015 rx1 tx1", Answer::Unknown),
        (Scheme::Bnxt, "233.0.151.0", "233.0.151.0/pkg 233.1.135.7", Answer::Unknown),
        (Scheme::Cxgb4, "1.27.5.0", "1.27.5.0, TP 0.1.4.9", Answer::Unknown),
        (Scheme::Qede, "mbi 15.10.6", "mbi 15.10.6 [mfw 8.42.9.0]", Answer::Unknown),
        (Scheme::Qede, "mbi 15.10.6 [mfw 8.42.9.0]", "mbi 15.10.6 [mfw 8.42.9.0]", Answer::Yes),
    ] {
        let (left, right) = (read(scheme, left), read(scheme, right));
        assert_eq!(left.identity(&right), Ok(is), "{left} and {right}");
        assert_eq!(right.identity(&left), Ok(is), "{right} and {left}");
    }
    assert!(read(Scheme::Mlx5, "1.2.3").identity(&read(Scheme::Dotted, "1.2.3")).is_err());
}

#[test]
fn a_range_holds_by_the_numbers_it_gives() {
    let within = |scheme: Scheme, range: &str, version: &str| {
        scheme.within(&firmware_range(range).unwrap(), &read(scheme, version))
    };
    assert_eq!(within(Scheme::Mlx5, ">=20.31, <20.33", "20.32.2004 (MT_1)"), Ok(true));
    assert_eq!(within(Scheme::Mlx5, ">=20.31, <20.33", "20.33.1000"), Ok(false));
    assert_eq!(within(Scheme::Mlx5, "=22.43", "22.43.3608"), Ok(true));
    // NVM versions are hexadecimal: 4.40 is above 4.9, whose minor is 0x09.
    assert_eq!(within(Scheme::IntelNvm, ">=4.40", "4.40 0x8001c967 1.3534.0"), Ok(true));
    assert_eq!(within(Scheme::IntelNvm, ">4.40", "4.40 0x8001c967 1.3534.0"), Ok(false));
    assert_eq!(
        within(Scheme::Bnxt, "=233.0.151.0/pkg 233.1.135.7", "233.0.151.0/pkg 233.1.135.7"),
        Ok(true)
    );
    assert!(matches!(
        within(Scheme::Mlx5, ">=20.31", "22.43.3608"),
        Err(SchemeError::Branches { .. })
    ));
    assert!(within(Scheme::IntelEetrack, ">=1.2", "0x00012b2c").is_err());
    assert!(within(Scheme::IntelNvm, ">=4.40", "0x8001c967").is_err());
}
