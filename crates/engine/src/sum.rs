//! `sum`, which says when a sum of integers does not fit a bigint, where DataFusion's would wrap around.
//!
//! Integers are added up as 128-bit decimals and become a bigint only at the end: whether a sum fits does not depend on
//! the order of its parts. All else is DataFusion's own `sum`.

use crate::error::external;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};
use evenkeel_model::{Error, SqlState};
use std::sync::Arc;

/// What integers are added up as.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// The function.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct CheckedSum {
    sum: Sum,
}

fn wide_field() -> FieldRef {
    Arc::new(Field::new("sum", WIDE, true))
}

fn is_wide(field: &FieldRef) -> bool {
    *field.data_type() == DataType::Int64
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.sum.signature()
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.sum.return_type(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_wide(&args.return_field) {
            return self.sum.accumulator(args);
        }
        let inner = self.sum.accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
        Ok(Box::new(CheckedAccumulator { inner }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !is_wide(&args.return_field) {
            return self.sum.state_fields(args);
        }
        self.sum.state_fields(StateFieldsArgs { return_field: wide_field(), ..args })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.sum.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_wide(&args.return_field) {
            return self.sum.create_groups_accumulator(args);
        }
        let inner = self.sum.create_groups_accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
        Ok(Box::new(CheckedGroups { inner }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_wide(&args.return_field) {
            return self.sum.create_sliding_accumulator(args);
        }
        let inner = self.sum.create_sliding_accumulator(AccumulatorArgs { return_field: wide_field(), ..args })?;
        Ok(Box::new(CheckedAccumulator { inner }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.sum.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.sum.order_sensitivity()
    }
}

fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let widen = |values: &ArrayRef| -> ArrayRef {
        let wide = values.as_primitive::<arrow::datatypes::Int64Type>().unary::<_, Decimal128Type>(i128::from);
        Arc::new(wide.with_data_type(WIDE))
    };
    Ok(values.iter().map(widen).collect())
}

fn narrowed(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| {
        external(
            Error::new(SqlState::NumericValueOutOfRange, "bigint out of range")
                .with_detail(format!("the sum is {sum}"))
                .with_hint("sum(value::decimal(38,0)) has room for it"),
        )
    })
}

/// One sum.
#[derive(Debug)]
struct CheckedAccumulator {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for CheckedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.inner.evaluate()? {
            ScalarValue::Decimal128(Some(sum), ..) => Ok(ScalarValue::Int64(Some(narrowed(sum)?))),
            _ => Ok(ScalarValue::Int64(None)),
        }
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The sums of many groups.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widened(values)?, groups, filter, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        let narrow: Int64Array = sums.as_primitive::<Decimal128Type>().try_unary(narrowed)?;
        Ok(Arc::new(narrow))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, count)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
