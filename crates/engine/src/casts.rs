//! Conversions that give PostgreSQL's values where Arrow's would give others.
//!
//! | from | to | Arrow | here |
//! |---|---|---|---|
//! | decimal | integer | cuts off | rounds half away from zero |
//! | float | integer | cuts off | rounds half to even |
//! | float | decimal | the binary fraction | the decimal fraction of 15 digits (6 of a real) |
//! | text | decimal | no exponents | exponents |
//! | text | bytea | the text's bytes | `\x` and hexadecimal digits |
//! | text | interval | words only | all of PostgreSQL's spellings |
//! | text | array | not at all | `{…}` |
//! | timestamp | text | `2026-03-01T06:00:00Z` | `2026-03-01 06:00:00+00` |
//!
//! Casts in plans become functions of the same meaning; assignments convert arrays with [`convert`].

use crate::error::{arrow_error, external};
use crate::files::{ColumnText, TextColumn};
use crate::parameters::column_of;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, PrimitiveArray, StringViewArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    IntervalUnit,
};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use evenkeel_model::{Error, Result, SqlState};
use std::sync::Arc;

/// Whether Arrow's conversion would give other values than PostgreSQL's.
fn differs(from: &DataType, to: &DataType) -> bool {
    match to {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            matches!(from, DataType::Decimal128(_, scale) if *scale > 0) || is_float(from)
        }
        DataType::Decimal128(..) => is_float(from) || from.is_string(),
        DataType::Binary | DataType::Interval(IntervalUnit::MonthDayNano) | DataType::List(_) => from.is_string(),
        text if text.is_string() => matches!(from, DataType::Timestamp(..)),
        _ => false,
    }
}

fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Converts an array; `None` where Arrow does it just as well. `name` is the column that it is for, or empty.
pub(crate) fn convert(array: &ArrayRef, to: &DataType, name: &str) -> Option<Result<ArrayRef>> {
    differs(array.data_type(), to).then(|| match to {
        DataType::Int16 => integers::<Int16Type>(array, "smallint"),
        DataType::Int32 => integers::<Int32Type>(array, "integer"),
        DataType::Int64 => integers::<Int64Type>(array, "bigint"),
        DataType::Decimal128(precision, scale) => decimals(array, *precision, *scale),
        DataType::Binary => crate::validate::bytes_of_text(array, name),
        DataType::List(_) => lists(array, to),
        text if text.is_string() => texts(array, to),
        _ => intervals(array),
    })
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef, name: &str) -> Result<ArrayRef>
where
    T::Native: TryFrom<i128>,
{
    let fit = |value: i128| {
        T::Native::try_from(value)
            .map_err(|_| Error::new(SqlState::NumericValueOutOfRange, format!("{name} out of range: {value}")))
    };
    let converted: Result<PrimitiveArray<T>> = if let DataType::Decimal128(_, scale) = array.data_type() {
        let one = 10_i128.pow(u32::from(scale.unsigned_abs()));
        let rounded = |value: i128| {
            let away = i128::from((value % one).abs() >= one - one / 2) * value.signum();
            value / one + away
        };
        array.as_primitive::<Decimal128Type>().try_unary(|value| fit(rounded(value)))
    } else {
        let array = arrow::compute::cast(array, &DataType::Float64).map_err(arrow_error)?;
        // A float beyond i128 becomes the nearest there is, which no integer type here holds either.
        array.as_primitive::<Float64Type>().try_unary(|value| match value.is_nan() {
            true => Err(Error::new(SqlState::NumericValueOutOfRange, format!("{name} out of range: NaN"))),
            false => fit(value.round_ties_even() as i128),
        })
    };
    Ok(Arc::new(converted?))
}

fn decimals(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let parse = |text: &str| decimal(text, precision, scale);
    let values: Decimal128Array = match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().try_unary(|value| parse(&format!("{value:.5e}")))?,
        DataType::Float64 => array.as_primitive::<Float64Type>().try_unary(|value| parse(&format!("{value:.14e}")))?,
        _ => {
            let texts = arrow::compute::cast(array, &DataType::Utf8View).map_err(arrow_error)?;
            texts.as_string_view().iter().map(|text| text.map(parse).transpose()).collect::<Result<_>>()?
        }
    };
    values.with_precision_and_scale(precision, scale).map(|array| Arc::new(array) as ArrayRef).map_err(arrow_error)
}

/// The unscaled value of `-12.5e3` as a decimal, rounded half away from zero.
fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let invalid =
        || Error::new(SqlState::InvalidTextRepresentation, format!("invalid input for type decimal: \"{text}\""));
    let too_large = || {
        let message = format!("decimal({precision},{scale}) out of range: {text}");
        Error::new(SqlState::NumericValueOutOfRange, message)
    };
    let unsigned = text.trim().trim_start_matches(['-', '+']);
    let negative = text.trim().starts_with('-');
    if text.trim().len() > unsigned.len() + 1 {
        return Err(invalid());
    }
    if ["NaN", "inf", "Infinity"].contains(&unsigned) {
        return Err(too_large());
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let exponent: i32 = exponent.parse().map_err(|_| invalid())?;
    // So many of the digits count, the next one decides how they are rounded.
    let kept = (whole.len() as i64) + i64::from(exponent) + i64::from(scale);
    let significant = digits.trim_start_matches('0');
    let Ok(kept) = usize::try_from(kept - (digits.len() - significant.len()) as i64) else { return Ok(0) };
    if significant.is_empty() {
        return Ok(0);
    }
    if kept > usize::from(precision) {
        return Err(too_large());
    }
    let counted = format!("{:0<kept$}", significant.get(..kept).unwrap_or(significant));
    let counted: i128 = if counted.is_empty() { 0 } else { counted.parse().map_err(|_| too_large())? };
    let rounded = counted + i128::from(significant.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5'));
    match rounded < 10_i128.pow(u32::from(precision)) {
        true if negative => Ok(-rounded),
        true => Ok(rounded),
        false => Err(too_large()),
    }
}

/// As clients are sent them.
fn texts(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let rendered = ColumnText::wire(array)?;
    let mut bytes = Vec::new();
    let mut text = |row: usize| {
        if rendered.is_null(row) {
            return None;
        }
        bytes.clear();
        rendered.write(row, &mut bytes);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let texts: StringViewArray = (0..array.len()).map(&mut text).collect();
    arrow::compute::cast(&texts, to).map_err(arrow_error)
}

fn intervals(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = arrow::compute::cast(array, &DataType::Utf8View).map_err(arrow_error)?;
    let parse = |text: Option<&str>| text.map(|text| crate::interval::parse(text, "second")).transpose();
    let values: PrimitiveArray<IntervalMonthDayNanoType> =
        texts.as_string_view().iter().map(parse).collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn lists(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let column = column_of(to).ok_or_else(|| Error::unsupported(format!("a text cannot become {to}")))?;
    let texts = arrow::compute::cast(array, &DataType::Utf8View).map_err(arrow_error)?;
    let mut lists = TextColumn::new(&column, texts.len());
    for text in texts.as_string_view() {
        match text {
            Some(text) => lists.append(text.as_bytes())?,
            None => lists.append_null(),
        }
    }
    arrow::compute::cast(&lists.finish(), to).map_err(arrow_error)
}

/// [`convert`] as a function of a plan.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn display_name(&self, args: &[Expr]) -> datafusion::common::Result<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("CAST({} AS {})", args.join(", "), self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let [value] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let scalar = matches!(value, ColumnarValue::Scalar(_));
        let array = value.into_array(if scalar { 1 } else { args.number_rows })?;
        let converted = match convert(&array, &self.to, "") {
            Some(converted) => converted.map_err(external)?,
            None => arrow::compute::cast(&array, &self.to)?,
        };
        match scalar {
            true => datafusion::common::ScalarValue::try_from_array(&converted, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(converted)),
        }
    }
}

/// A cast as a function, where the values differ; `from` is the type of what is cast.
pub(crate) fn converted(cast: Cast, from: Option<&DataType>) -> (Expr, bool) {
    let to = cast.field.data_type().clone();
    if !from.is_some_and(|from| differs(from, &to)) {
        return (Expr::Cast(cast), false);
    }
    let function = Conversion { to, signature: Signature::any(1, Volatility::Immutable) };
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    (Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![*cast.expr])), true)
}
