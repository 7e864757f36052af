//! From a statement's filters to the keys that can match.
//!
//! `key = v` on the whole primary key is a point, `IN` several points; on the shard key alone it is the rows that share
//! it, which stand together in one shard. Anything else is the whole table. Filters stay above the scan, so a route may
//! be too wide but never too narrow.

use crate::table::TableHandle;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::scalar::ScalarValue;
use evenkeel_model::Token;
use evenkeel_storage::codec::key::prefix_end;
use evenkeel_storage::codec::{Cells, KeyBuilder, Value, row_key};
use std::collections::BTreeMap;
use std::ops::Range;

/// More points than this are read by scanning.
const POINTS_MAX: usize = 10_000;

/// The keys that a scan reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyRanges {
    All,
    /// Ascending, disjoint; each within one token.
    Some(Vec<Range<Vec<u8>>>),
}

/// Where a scan goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    pub(crate) ranges: KeyRanges,
    points: bool,
}

impl Route {
    /// The route of these conjuncts.
    pub(crate) fn of(table: &TableHandle, filters: &[Expr]) -> Self {
        let mut equal = BTreeMap::new();
        filters.iter().for_each(|filter| collect(filter, table, &mut equal));
        Self::of_values(table, &equal)
    }

    /// The route of columns (by position) that equal one of some values.
    pub(crate) fn of_values(table: &TableHandle, equal: &BTreeMap<usize, Vec<ScalarValue>>) -> Self {
        let everything = Self { ranges: KeyRanges::All, points: false };
        if !table.shard_key.iter().all(|position| equal.contains_key(position)) {
            return everything;
        }
        let points = table.key.iter().all(|position| equal.contains_key(position));
        // Beyond the shard key, a prefix of the primary key narrows the range further.
        let fixed: Vec<usize> = table.key.iter().copied().take_while(|at| equal.contains_key(at)).collect();
        let mut columns = fixed.clone();
        columns.extend(table.shard_key.iter().filter(|at| !fixed.contains(at)));
        let count: usize = columns.iter().map(|at| equal[at].len()).product();
        if count > POINTS_MAX {
            return everything;
        }
        let mut ranges = Vec::with_capacity(count);
        let mut chosen = BTreeMap::new();
        each_combination(&columns, equal, &mut chosen, &mut |values| {
            ranges.extend(range(table, &fixed, values, points));
        });
        ranges.sort_by(|a: &Range<Vec<u8>>, b| a.start.cmp(&b.start));
        ranges.dedup();
        Self { ranges: KeyRanges::Some(ranges), points }
    }

    /// How the keys are read, for EXPLAIN.
    pub(crate) fn describe(&self) -> &'static str {
        match (&self.ranges, self.points) {
            (KeyRanges::All, _) => "full scan",
            (KeyRanges::Some(ranges), true) if ranges.len() == 1 => "point get",
            (KeyRanges::Some(_), true) => "multi-get",
            (KeyRanges::Some(_), false) => "prefix scan",
        }
    }
}

fn each_combination<'a>(
    columns: &[usize],
    equal: &'a BTreeMap<usize, Vec<ScalarValue>>,
    chosen: &mut BTreeMap<usize, &'a ScalarValue>,
    each: &mut impl FnMut(&BTreeMap<usize, &'a ScalarValue>),
) {
    let Some((first, rest)) = columns.split_first() else { return each(chosen) };
    for value in &equal[first] {
        chosen.insert(*first, value);
        each_combination(rest, equal, chosen, each);
    }
}

/// The keys with these values; `None` when a value can't be in the column at all, or is NULL, which equals nothing.
fn range(
    table: &TableHandle,
    fixed: &[usize],
    values: &BTreeMap<usize, &ScalarValue>,
    point: bool,
) -> Option<Range<Vec<u8>>> {
    let mut key = KeyBuilder::new();
    for position in &table.shard_key {
        push(table, *position, values[position], &mut key)?;
    }
    let token = Token::of(key.bytes());
    key.clear();
    for position in fixed {
        push(table, *position, values[position], &mut key)?;
    }
    let start = row_key(table.schema.id, token, key.bytes());
    let end = if point {
        let mut end = start.clone();
        end.push(0);
        end
    } else {
        prefix_end(&start)
    };
    Some(start..end)
}

fn push(table: &TableHandle, position: usize, value: &ScalarValue, key: &mut KeyBuilder) -> Option<()> {
    let column = &table.column(position).column_type;
    let array = value.to_array().ok()?;
    let cells = Cells::new(column, &array).ok()?;
    match cells.value(0).ok()? {
        Value::Null => None,
        value => {
            key.push(column, &value);
            Some(())
        }
    }
}

/// Notes `column = literal` and `column IN (literals)` on key columns. Values of another type than the column's are
/// left to the filter, unless they convert without loss.
fn collect(filter: &Expr, table: &TableHandle, equal: &mut BTreeMap<usize, Vec<ScalarValue>>) {
    match filter {
        Expr::BinaryExpr(binary) if binary.op == Operator::And => {
            collect(&binary.left, table, equal);
            collect(&binary.right, table, equal);
        }
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            let sides = match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
                    Some((column, value))
                }
                _ => None,
            };
            if let Some((column, value)) = sides {
                note(table, &column.name, vec![value.clone()], equal);
            }
        }
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => {
            // `a = 1 OR a = 2`, as short IN lists are written by the optimizer.
            let mut sides = [BTreeMap::new(), BTreeMap::new()];
            collect(&binary.left, table, &mut sides[0]);
            collect(&binary.right, table, &mut sides[1]);
            let [left, right] = sides;
            if let (1, 1, Some((position, mut values))) = (left.len(), right.len(), left.into_iter().next())
                && let Some(others) = right.get(&position)
                && is_single(&binary.left)
                && is_single(&binary.right)
            {
                values.extend(others.iter().cloned());
                equal.entry(position).or_insert(values);
            }
        }
        Expr::InList(list) if !list.negated => {
            if let Expr::Column(column) = list.expr.as_ref() {
                let literal = |expr: &Expr| match expr {
                    Expr::Literal(value, _) => Some(value.clone()),
                    _ => None,
                };
                if let Some(values) = list.list.iter().map(literal).collect() {
                    note(table, &column.name, values, equal);
                }
            }
        }
        _ => {}
    }
}

/// Whether a condition is nothing but equalities of one column, so that it may stand for that column alone.
fn is_single(filter: &Expr) -> bool {
    match filter {
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => is_single(&binary.left) && is_single(&binary.right),
        Expr::BinaryExpr(binary) => binary.op == Operator::Eq,
        Expr::InList(list) => !list.negated,
        _ => false,
    }
}

fn note(table: &TableHandle, name: &str, values: Vec<ScalarValue>, equal: &mut BTreeMap<usize, Vec<ScalarValue>>) {
    let Some(position) = table.arrow.fields().iter().position(|field| field.name() == name) else { return };
    if !table.key.contains(&position) || equal.contains_key(&position) {
        return;
    }
    let wanted = table.arrow.field(position).data_type();
    let convert = |value: &ScalarValue| {
        if value.data_type() == *wanted {
            return Some(value.clone());
        }
        let there = value.cast_to(wanted).ok()?;
        let back = there.cast_to(&value.data_type()).ok()?;
        (back == *value).then_some(there)
    };
    if let Some(values) = values.iter().map(convert).collect() {
        equal.insert(position, values);
    }
}
