//! What may stand behind REBALANCE SHARDS WITH.

use crate::place::Subject;
use crate::planning::Planning;
use crate::snapshot::Defaults;
use evenkeel_model::{Error, Result, SqlState, did_you_mean};
use evenkeel_pql::ast::Assignment;
use evenkeel_pql::keywords::REBALANCE_OPTIONS;
use evenkeel_rebalancer::balance::Strategy;
use sqlparser::ast;

/// Nothing is evener than a thousandth; a deviation of one is a shard that is empty, or has twice its share.
const TARGET_IMBALANCE: (f64, f64) = (0.001, 1.0);

/// A limit that nobody reaches is none.
const MIGRATIONS_MAX: u64 = 1_000_000;

/// What a REBALANCE asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub strategy: Strategy,
    pub target_imbalance: f64,
    pub max_migrations_per_hour: u64,
}

impl Wanted {
    fn of(defaults: &Defaults) -> Self {
        let Defaults { strategy, target_imbalance, max_migrations_per_hour, .. } = *defaults;
        Self { strategy, target_imbalance, max_migrations_per_hour }
    }
}

impl Planning<'_> {
    /// The settings, and over them what was given.
    pub fn wanted(&self, options: &[Assignment]) -> Result<Wanted> {
        let mut wanted = Wanted::of(&self.snapshot.defaults);
        for (nth, option) in options.iter().enumerate() {
            let name = option.name.value.to_lowercase();
            if options[..nth].iter().any(|earlier| earlier.name.value.eq_ignore_ascii_case(&name)) {
                let error = Error::new(SqlState::SyntaxError, format!("{name} is given twice"));
                return Err(self.text.at(error, Subject::OptionName(nth)));
            }
            let text = text_of(&option.value);
            set(&mut wanted, &name, text.as_deref(), &option.value).map_err(|(error, is_about_name)| {
                let subject = if is_about_name { Subject::OptionName(nth) } else { Subject::OptionValue(nth) };
                self.text.at(error, subject)
            })?;
        }
        Ok(wanted)
    }
}

/// Sets one option, or says what is wrong and whether it is the name.
fn set(
    wanted: &mut Wanted,
    name: &str,
    text: Option<&str>,
    value: &ast::Expr,
) -> std::result::Result<(), (Error, bool)> {
    let wrong = |takes: &str| {
        let shown = text.map_or_else(|| value.to_string(), |text| format!("\"{text}\""));
        let error = Error::new(SqlState::InvalidParameterValue, format!("{shown} is not a value for {name}"));
        (error.with_hint(format!("{name} takes {takes}")), false)
    };
    match name {
        "strategy" => wanted.strategy = text.and_then(Strategy::find).ok_or_else(|| wrong_strategy(text, wrong))?,
        "target_imbalance" => {
            let (min, max) = TARGET_IMBALANCE;
            let number = text.and_then(|text| text.parse::<f64>().ok()).filter(|part| (min..=max).contains(part));
            let takes = format!("a number, {min} … {max}: 0.05 allows 5 % more or less than fair");
            wanted.target_imbalance = number.ok_or_else(|| wrong(&takes))?;
        }
        "max_migrations_per_hour" => {
            let number = text.and_then(|text| text.parse::<u64>().ok()).filter(|number| *number <= MIGRATIONS_MAX);
            let takes = format!("a whole number, 0 … {MIGRATIONS_MAX}; 0 is no limit");
            wanted.max_migrations_per_hour = number.ok_or_else(|| wrong(&takes))?;
        }
        _ => return Err((unknown(name), true)),
    }
    Ok(())
}

fn wrong_strategy(text: Option<&str>, wrong: impl Fn(&str) -> (Error, bool)) -> (Error, bool) {
    let names = Strategy::ALL.map(Strategy::name);
    let (error, is_about_name) = wrong(&names.join(", "));
    match text.and_then(|text| did_you_mean(text, names)) {
        Some(meant) => {
            let all = error.hint.clone().unwrap_or_default();
            (error.with_detail(all).with_hint(format!("did you mean {meant}?")), is_about_name)
        }
        None => (error, is_about_name),
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::new(SqlState::SyntaxError, format!("REBALANCE SHARDS has no option {name}"))
        .with_detail(format!("the options are {}", REBALANCE_OPTIONS.join(", ")));
    match did_you_mean(name, REBALANCE_OPTIONS.iter().copied()) {
        Some(meant) => error.with_hint(format!("did you mean {meant}?")),
        None => error,
    }
}

/// A literal or a bare word as text; `None` for what is no value (NULL, a parameter).
fn text_of(value: &ast::Expr) -> Option<String> {
    match value {
        ast::Expr::Identifier(word) => Some(word.value.clone()),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => Some(number.clone()),
            ast::Value::Boolean(on) => Some(on.to_string()),
            ast::Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => text_of(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_the_parser_takes_is_known() {
        for name in REBALANCE_OPTIONS {
            let mut wanted = Wanted::of(&Defaults::default());
            let nothing = ast::Expr::Value(ast::Value::Null.into());
            let (error, is_about_name) = set(&mut wanted, name, None, &nothing).unwrap_err();
            assert!(!is_about_name, "{name}: {error}");
        }
    }
}
