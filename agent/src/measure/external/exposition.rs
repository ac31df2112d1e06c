//! One sample in a page of the Prometheus text format, version 0.0.4.

use playbooks::external::Series;

use super::{number, shown};

/// A series' value as an endpoint tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    /// When it was taken, where the endpoint says so: milliseconds since 1970.
    pub(super) time_ms: Option<i64>,
}

/// The sample of the one series that has this name and at least these labels. Only lines that begin
/// with the name are parsed.
pub(super) fn find(page: &str, series: &Series) -> Result<Sample, String> {
    // The last line must end, too: a number that was cut off is another number.
    if !page.ends_with('\n') {
        return Err("the page is cut short: its last line does not end".to_owned());
    }
    let mut found = None;
    for line in page.lines() {
        let line = line.trim_start_matches([' ', '\t']);
        let Some(after) = line.strip_prefix(series.name.as_str()) else { continue };
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let (listed, rest) = Series::scan(line).map_err(|why| wrong(line, why))?;
        if !series.covers(&listed) {
            continue;
        }
        if found.is_some() {
            return Err(format!("more than one series is {series}: name more labels"));
        }
        found = Some((line, rest));
    }
    let (line, rest) = found.ok_or_else(|| format!("no series is {series}"))?;
    sample(rest).map_err(|why| wrong(line, &why))
}

/// `value [timestamp]`.
fn sample(text: &str) -> Result<Sample, String> {
    let mut words = text.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
    let value = number(words.next().ok_or("it has no value")?)?;
    let time = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("`{}` is not a time in milliseconds", shown(text)))
    };
    let time_ms = words.next().map(time).transpose()?;
    match words.next() {
        Some(more) => Err(format!("`{}` behind value and time", shown(more))),
        None => Ok(Sample { value, time_ms }),
    }
}

fn wrong(line: &str, why: &str) -> String {
    format!("{why} (in `{}`)", shown(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP t2t_seconds Tick to trade.
# TYPE t2t_seconds summary
t2t_seconds{quantile=\"0.5\",venue=\"A\"} 1.25e-05
t2t_seconds { venue=\"A\" , quantile=\"0.99\", } 4.5e-05 1700000000123
t2t_seconds{quantile=\"0.99\",venue=\"B \\\"x\\\"\"} 7
t2t_seconds_count 12
t2t_seconds_sum NaN

gaps +Inf
up\t1
bad{ 1
worse 1 2 3
worst 0x10
cut
";

    fn at(series: &str) -> Result<Sample, String> {
        find(PAGE, &Series::try_from(series.to_owned()).unwrap())
    }

    #[test]
    fn one_series_is_found_by_name_and_labels() {
        let value = |series| at(series).unwrap().value;
        assert_eq!(value("t2t_seconds{quantile=\"0.5\"}"), 1.25e-5);
        assert_eq!(value("t2t_seconds{venue=\"B \\\"x\\\"\"}"), 7.0);
        assert_eq!(value("t2t_seconds_count"), 12.0);
        assert_eq!(value("up"), 1.0);
        let timed = at("t2t_seconds{venue=\"A\",quantile=\"0.99\"}").unwrap();
        assert_eq!(timed, Sample { value: 4.5e-5, time_ms: Some(1_700_000_000_123) });
    }

    #[test]
    fn anything_else_is_refused() {
        for (series, why) in [
            ("t2t_seconds{quantile=\"0.99\"}", "more than one"),
            ("t2t_seconds{quantile=\"0.9\"}", "no series"),
            ("t2t", "no series"),
            ("t2t_seconds_sum", "not finite"),
            ("gaps", "not finite"),
            ("bad", "(in `bad{ 1`)"),
            ("worse", "behind"),
            ("worst", "not a number"),
            ("cut", "no value"),
        ] {
            let refused = at(series).unwrap_err();
            assert!(refused.contains(why), "{series}: {refused}");
        }
        let up = Series::try_from("up".to_owned()).unwrap();
        assert!(find("up 12", &up).unwrap_err().contains("cut short"));
        assert!(find("", &up).is_err());
        assert!(find("up 1 1e3\n", &up).unwrap_err().contains("milliseconds"));
    }
}
