//! Errors of the query engine in the user's words.

use arrow::error::ArrowError;
use datafusion::common::diagnostic::Diagnostic;
use datafusion::common::{DataFusionError, SchemaError};
use evenkeel_model::{Error, SqlState, did_you_mean};

/// 42703 with a "did you mean" among the columns there are.
pub(crate) fn undefined_column<'a>(
    name: &str,
    table: Option<&str>,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Error {
    let place = table.map_or_else(String::new, |table| format!(" in {table}"));
    let error = Error::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist{place}"));
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match did_you_mean(name, candidates.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None if candidates.is_empty() => error,
        None if candidates.len() <= 30 => error.with_hint(format!("there are: {}", candidates.join(", "))),
        None => error,
    }
}

/// 42P01 with a "did you mean" among the tables there are.
pub(crate) fn undefined_table<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Error {
    let error = Error::new(SqlState::UndefinedTable, format!("table \"{name}\" does not exist"));
    match did_you_mean(name, candidates) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint("SHOW TABLES lists the tables there are"),
    }
}

/// DataFusion's error as ours; `text` is the statement, for the place.
pub(crate) fn query_error(error: DataFusionError, text: &str) -> Error {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let mut error = query_error(*inner, text);
            if error.span.is_none() {
                error.span = span(&diagnostic, text);
            }
            error
        }
        DataFusionError::Context(_, inner) => query_error(*inner, text),
        DataFusionError::Shared(inner) => match as_own(&inner) {
            Some(own) => own,
            None => by_message(&inner.strip_backtrace(), classify(&inner)),
        },
        DataFusionError::Collection(mut errors) if !errors.is_empty() => query_error(errors.remove(0), text),
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(error) => query_error(*error, text),
                Err(other) => Error::new(SqlState::InternalError, other.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => arrow_error(*inner),
        DataFusionError::SchemaError(inner, _) => schema_error(*inner),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(&message),
        DataFusionError::IoError(inner) if inner.kind() == std::io::ErrorKind::StorageFull => {
            Error::new(SqlState::DiskFull, "no space left on the disk for the query's intermediate results")
        }
        other => by_message(&other.strip_backtrace(), classify(&other)),
    }
}

fn out_of_memory(message: &str) -> Error {
    let limit = crate::memory::refused_by(message);
    Error::new(SqlState::OutOfMemory, format!("the query needs more memory than {limit} allows"))
        .with_detail(message.replace('\n', " "))
        .with_hint(format!("raise {limit}, or read less at once"))
}

/// An error of ours that a shared error carries.
fn as_own(error: &DataFusionError) -> Option<Error> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().cloned(),
        _ => None,
    }
}

fn classify(error: &DataFusionError) -> SqlState {
    match error.find_root() {
        DataFusionError::NotImplemented(_) => SqlState::FeatureNotSupported,
        DataFusionError::SQL(..) => SqlState::SyntaxError,
        DataFusionError::Plan(_) => SqlState::SyntaxError,
        DataFusionError::Execution(_) => SqlState::InvalidParameterValue,
        DataFusionError::ArrowError(..) => SqlState::InvalidTextRepresentation,
        _ => SqlState::InternalError,
    }
}

/// What DataFusion says only in words.
fn by_message(message: &str, state: SqlState) -> Error {
    // What went wrong stands last, after where in the planner.
    let mut text = message.rsplit("\ncaused by\n").next().unwrap_or(message);
    // Prefixes stand before one another.
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Arrow error: ",
        "Optimizer rule ",
        "External error: ",
        "SQL error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.strip_prefix("Internal error: ").unwrap_or(text);
    let lower = text.to_lowercase();
    if let Some(known) = rephrased(text) {
        return known;
    }
    if lower.starts_with("resources exhausted") {
        return out_of_memory(text);
    }
    let state = if lower.starts_with("invalid function") || lower.contains("failed to coerce arguments") {
        SqlState::UndefinedFunction
    } else if lower.contains("cannot infer common")
        || lower.contains("cannot coerce")
        || lower.contains("failed to coerce")
        || lower.contains("unsupported cast")
        || lower.contains("type_coercion")
    {
        SqlState::DatatypeMismatch
    } else if lower.contains("divide by zero") {
        return Error::new(SqlState::DivisionByZero, "division by zero");
    } else if lower.contains("overflow") {
        SqlState::NumericValueOutOfRange
    } else {
        state
    };
    Error::new(state, decapitalise(&first_line(text)))
}

/// Messages that DataFusion and Arrow write for programmers, for people.
fn rephrased(text: &str) -> Option<Error> {
    if let Some((_, rest)) = text.split_once("Invalid function '") {
        let (name, rest) = rest.split_once('\'')?;
        let error = Error::new(SqlState::UndefinedFunction, format!("function {name} does not exist"));
        let near = rest.split_once("Did you mean '").and_then(|(_, near)| near.split_once('\'')).map(|(near, _)| near);
        // The nearest of hundreds of names is often far.
        return Some(match near.and_then(|near| did_you_mean(name, [near])) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error,
        });
    }
    if let Some((function, rest)) = text.split_once(" failed to match any signature") {
        let name = function.rsplit('\'').nth(1).unwrap_or(function);
        let received =
            rest.split_once("but received ").and_then(|(_, kind)| kind.split_once(" (")).map(|(kind, _)| kind);
        let error = Error::new(SqlState::UndefinedFunction, format!("function {name} does not take these arguments"));
        return Some(match received {
            Some(kind) => error.with_detail(format!("an argument is of type {}", kind.to_lowercase())),
            None => error,
        });
    }
    if let Some((_, rest)) = text.split_once("must be in GROUP BY or an aggregate function")
        && let Some((_, rest)) = rest.split_once("column \"")
        && let Some((column, _)) = rest.split_once('"')
    {
        let message = format!("column \"{column}\" must appear in GROUP BY or be used in an aggregate function");
        return Some(Error::new(SqlState::GroupingError, message));
    }
    let lower = text.to_lowercase();
    if lower.contains("returned more than one row") || lower.contains("more than one row returned") {
        let message = "a sub-query used as a value returned more than one row";
        return Some(Error::new(SqlState::CardinalityViolation, message).with_hint("LIMIT 1, or IN instead of ="));
    }
    if lower.contains("error parsing timestamp") || lower.contains("error parsing date") {
        return Some(Error::new(SqlState::InvalidDatetimeFormat, decapitalise(&first_line(text))));
    }
    misplaced(text).or_else(|| out_of_range(text)).or_else(|| invalid_input(text))
}

/// What stands where its kind may not stand.
fn misplaced(text: &str) -> Option<Error> {
    let lower = text.to_lowercase();
    if lower.contains("aggregate functions are not allowed in the where clause") {
        let message = "aggregate functions are not allowed in WHERE";
        return Some(Error::new(SqlState::GroupingError, message).with_hint("HAVING has conditions on groups"));
    }
    if lower.contains("aggregate function calls cannot be nested") {
        let message = "aggregate function calls cannot be nested";
        return Some(
            Error::new(SqlState::GroupingError, message).with_hint("aggregate in a sub-query, and its rows outside"),
        );
    }
    if let Some((_, rest)) = text.split_once("does not support logical expression ") {
        let what = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        return Some(match what {
            "WindowFunction" => Error::new(SqlState::GroupingError, "window functions are not allowed in conditions")
                .with_hint("compute it in a sub-query, and put the condition outside"),
            "AggregateFunction" => Error::new(SqlState::GroupingError, "aggregate functions are not allowed here"),
            "Exists" | "InSubquery" | "ScalarSubquery" | "OuterReferenceColumn" | "SetComparison" => {
                Error::unsupported("a sub-query is not supported at this place").with_hint("join its rows instead")
            }
            _ => Error::unsupported("an expression is not supported at this place"),
        });
    }
    if lower.contains("correlated scalar subquery must be aggregated") {
        let message = "a sub-query used as a value, with a condition on the outer query, must aggregate";
        return Some(Error::unsupported(message).with_hint("max(column) instead of column gives one row"));
    }
    if let Some((_, rest)) = text.split_once("non-boolean predicate '") {
        let (expr, kind) = rest.split_once("' returning ")?;
        let message = format!("a condition must be of type boolean, not {}", type_name(kind.trim_end_matches('.')));
        return Some(Error::new(SqlState::DatatypeMismatch, message).with_detail(format!("the condition is {expr}")));
    }
    if let Some((_, kind)) = text.split_once("requires a boolean expression, got ") {
        let message = format!("the argument of NOT must be of type boolean, not {}", type_name(&first_line(kind)));
        return Some(Error::new(SqlState::DatatypeMismatch, message));
    }
    None
}

/// A number that its type does not hold.
fn out_of_range(text: &str) -> Option<Error> {
    let error = |message: String| Some(Error::new(SqlState::NumericValueOutOfRange, message));
    if let Some((_, rest)) = text.split_once("an't cast value ")
        && let Some((value, kind)) = rest.split_once(" to type ")
    {
        return error(format!("{} out of range: {value}", type_name(&first_line(kind))));
    }
    if let Some((value, rest)) = text.split_once(" is too large to store in a Decimal")
        && let Some((_, rest)) = rest.split_once("precision ")
    {
        let precision = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        return error(format!("decimal out of range: {value} has more than {precision} digits"));
    }
    None
}

fn invalid_input(text: &str) -> Option<Error> {
    let (_, rest) = text.split_once("annot cast string '")?;
    let (value, rest) = rest.split_once("' to value of ")?;
    let kind = type_name(rest.split_whitespace().next()?);
    let digits = value.trim().trim_start_matches(['-', '+']);
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if number && matches!(kind, "smallint" | "integer" | "bigint") {
        let message = format!("value \"{value}\" is out of range for type {kind}");
        return Some(Error::new(SqlState::NumericValueOutOfRange, message));
    }
    let state = match kind {
        "date" | "time" | "timestamp" => SqlState::InvalidDatetimeFormat,
        _ => SqlState::InvalidTextRepresentation,
    };
    Some(Error::new(state, format!("invalid input for type {kind}: \"{value}\"")))
}

/// The name of an Arrow type in PQL.
fn type_name(arrow: &str) -> &str {
    match arrow {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Date32" => "date",
        other if other.starts_with("Utf8") => "text",
        other if other.starts_with("Timestamp") => "timestamp",
        other if other.starts_with("Decimal") => "decimal",
        other if other.starts_with("Time") => "time",
        other => other,
    }
}

fn schema_error(error: SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<String> = valid_fields.iter().map(|column| column.name.clone()).collect();
            let table = field.relation.as_ref().map(|relation| relation.table().to_string());
            let mut tables = valid_fields.iter().filter_map(|column| column.relation.as_ref());
            // A table with a schema is one of an outer query, which `spelling` has found.
            if let Some(table) = &table
                && field.relation.as_ref().is_some_and(|relation| relation.schema().is_none())
                && !valid_fields.is_empty()
                && tables.all(|relation| relation.table() != table)
            {
                return Error::new(
                    SqlState::UndefinedTable,
                    format!("missing FROM-clause entry for table \"{table}\""),
                );
            }
            undefined_column(&field.name, table.as_deref(), names.iter().map(String::as_str))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(SqlState::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
                .with_hint("say which table's: table.column")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(SqlState::DuplicateColumn, format!("the name \"{name}\" is given to two columns"))
                .with_hint("give one of them another name with AS")
        }
        SchemaError::DuplicateQualifiedField { qualifier, name } => Error::new(
            SqlState::DuplicateColumn,
            format!("the name \"{}.{name}\" is given to two columns", qualifier.table()),
        )
        .with_hint("give one of them another name with AS"),
    }
}

/// Arrow's error as ours.
pub(crate) fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(SqlState::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => {
            Error::new(SqlState::NumericValueOutOfRange, format!("value out of range: {}", decapitalise(&message)))
        }
        ArrowError::CastError(message) | ArrowError::ParseError(message) => rephrased(&message)
            .unwrap_or_else(|| Error::new(SqlState::InvalidTextRepresentation, decapitalise(&message))),
        ArrowError::InvalidArgumentError(message) => {
            rephrased(&message).unwrap_or_else(|| Error::new(SqlState::DatatypeMismatch, decapitalise(&message)))
        }
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::new(SqlState::InternalError, other.to_string()),
        },
        ArrowError::IoError(message, inner) => match inner.kind() {
            std::io::ErrorKind::StorageFull => Error::new(SqlState::DiskFull, "no space left on the disk"),
            _ => Error::new(SqlState::IoError, message),
        },
        other => Error::new(SqlState::InternalError, other.to_string()),
    }
}

/// Our error on its way through DataFusion.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").trim_end_matches('.').to_string()
}

/// PostgreSQL's messages begin in lower case; words such as `SELECT` stay as they are.
fn decapitalise(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_string(),
    }
}

fn span(diagnostic: &Diagnostic, text: &str) -> Option<evenkeel_model::Span> {
    let span = diagnostic.span?;
    let start = offset(text, span.start.line, span.start.column)?;
    let end = offset(text, span.end.line, span.end.column)?;
    Some(start..end.max(start))
}

/// The byte offset of a line and column, both from 1, columns in characters.
pub(crate) fn offset(text: &str, line: u64, column: u64) -> Option<usize> {
    if line == 0 || column == 0 {
        return None;
    }
    let start = match line {
        1 => 0,
        _ => text.match_indices('\n').nth(line as usize - 2)?.0 + 1,
    };
    let rest = &text[start..];
    Some(start + rest.char_indices().nth(column as usize - 1).map_or(rest.len(), |(at, _)| at))
}
