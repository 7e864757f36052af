//! The functions that Evenkeel has beside DataFusion's, and the names that PostgreSQL has for some of those.

use arrow::array::{AsArray, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{AggregateUDF, ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::sync::Arc;

/// Another name for one of DataFusion's scalar functions: its name, ours.
const ALIASES: &[(&str, &str)] = &[("uuid", "gen_random_uuid"), ("ceil", "ceiling"), ("signum", "sign")];

/// The same of aggregate functions.
const AGGREGATE_ALIASES: &[(&str, &str)] = &[("bool_and", "every"), ("var_samp", "variance")];

pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for (name, alias) in ALIASES {
        let function = state.udf(name)?.as_ref().clone().with_aliases([*alias]);
        state.register_udf(Arc::new(function))?;
    }
    for (name, alias) in AGGREGATE_ALIASES {
        let function = state.udaf(name)?.as_ref().clone().with_aliases([*alias]);
        state.register_udaf(Arc::new(function))?;
    }
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(crate::sum::CheckedSum::default())))?;
    state.register_udf(Arc::new(version()))?;
    state.register_udf(Arc::new(quoting("quote_literal", |text| format!("'{}'", text.replace('\'', "''")))))?;
    state.register_udf(Arc::new(quoting("quote_ident", |text| {
        let plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain { text.to_string() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    })))?;
    Ok(())
}

/// A function from text to text.
fn quoting(name: &str, quote: fn(&str) -> String) -> ScalarUDF {
    let answer = Arc::new(move |args: &[ColumnarValue]| {
        let [texts] = datafusion::common::utils::take_function_args("a function of text", args)?;
        let texts = texts.cast_to(&DataType::Utf8View, None)?.into_array(1)?;
        let quoted: StringViewArray = texts.as_string_view().iter().map(|text| text.map(quote)).collect();
        Ok(ColumnarValue::Array(Arc::new(quoted)))
    });
    create_udf(name, vec![DataType::Utf8View], DataType::Utf8View, Volatility::Immutable, answer)
}

/// `current_user`, which stands without brackets, and its other names.
pub(crate) fn current_user(name: &str) -> ScalarUDF {
    let text = ScalarValue::Utf8View(Some(name.to_string()));
    let answer = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(text.clone())));
    create_udf("current_user", vec![], DataType::Utf8View, Volatility::Stable, answer).with_aliases([
        "session_user",
        "user",
        "current_role",
    ])
}

/// `version()`: ours, not DataFusion's.
fn version() -> ScalarUDF {
    let text = ScalarValue::Utf8View(Some(format!("Evenkeel {}", env!("CARGO_PKG_VERSION"))));
    let answer = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(text.clone())));
    create_udf("version", vec![], DataType::Utf8View, Volatility::Immutable, answer)
}
