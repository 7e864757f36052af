//! Files as a whole: what is written is read, and errors say where.

use super::*;
use arrow::array::{Array, ArrayRef};
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{ColumnType, Error, SqlState};
use evenkeel_storage::codec::{ColumnBuilder, Value};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAMES: [&str; 12] = [
    "t.csv",
    "t.csv.gz",
    "t.csv.zst",
    "t.tsv",
    "t.tsv.gz",
    "t.json",
    "t.json.zst",
    "t.ndjson",
    "t.ndjson.gz",
    "t.parquet",
    "t.arrow",
    "t.feather",
];

fn options(path: &Path) -> CopyOptions {
    CopyOptions::new(Some(path), &[]).unwrap()
}

fn target(name: &str, column_type: ColumnType) -> Target {
    Target { name: name.to_string(), column_type }
}

fn bytes(text: &str) -> Value<'static> {
    Value::Bytes(Cow::Owned(text.as_bytes().to_vec()))
}

/// A type with values that are easily changed on the way.
fn samples() -> Vec<(ColumnType, Vec<Value<'static>>)> {
    use Value::{Boolean, Float, Integer, Wide};
    let integers = |min: i64, max: i64| vec![Integer(0), Integer(min), Integer(max), Integer(-1)];
    let micros = || [0, -1, i64::MIN, i64::MAX, 1_357_034_400_000_000, 1_357_034_400_000_001].map(Integer).to_vec();
    let floats = [0.0, -0.0, 0.1, 1e300, -5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e16, 1e-5];
    let reals = [0.0, 0.1_f32, f32::MAX, f32::MIN_POSITIVE, f32::NAN, f32::INFINITY, 16_777_216.0];
    let texts = [
        "",
        "plain",
        " padded ",
        "a,b\tc",
        "\"quoted\"",
        "line\nbreak\r\n",
        "\r",
        "NULL",
        "null",
        "\\N",
        "\\",
        "ß 🦀 \u{feff}",
        "\u{feff}",
        "{a,b}",
        "[1]",
        "NA",
        "\u{1}\u{7f}",
        "'",
    ];
    let intervals = [(0, 0, 0), (14, -3, 5), (i32::MIN, i32::MAX, i64::MIN), (0, 0, -1), (-1, 0, 86_400_000_000_000)];
    let interval = |(months, days, nanoseconds)| Value::Interval { months, days, nanoseconds };
    vec![
        (ColumnType::Boolean, vec![Boolean(true), Boolean(false)]),
        (ColumnType::SmallInt, integers(i64::from(i16::MIN), i64::from(i16::MAX))),
        (ColumnType::Integer, integers(i64::from(i32::MIN), i64::from(i32::MAX))),
        (ColumnType::BigInt, integers(i64::MIN, i64::MAX)),
        (ColumnType::Real, reals.map(|value| Float(f64::from(value))).to_vec()),
        (ColumnType::Double, floats.map(Float).to_vec()),
        (
            ColumnType::Decimal { precision: 38, scale: 10 },
            [0, -1, 10_i128.pow(38) - 1, 1 - 10_i128.pow(38)].map(Wide).to_vec(),
        ),
        (ColumnType::Decimal { precision: 5, scale: 0 }, [0, 99_999, -7].map(Wide).to_vec()),
        (ColumnType::Text { max_chars: None }, texts.map(bytes).to_vec()),
        (ColumnType::Bytea, vec![bytes(""), bytes("\\x"), Value::Bytes(Cow::Owned((0..=255).collect()))]),
        (ColumnType::Date, integers(i64::from(i32::MIN), i64::from(i32::MAX))),
        (ColumnType::Time, [0, 86_399_999_999, 3_600_000_000].map(Integer).to_vec()),
        (ColumnType::Timestamp, micros()),
        (ColumnType::TimestampTz, micros()),
        (ColumnType::Interval, intervals.map(interval).to_vec()),
        (ColumnType::Uuid, [0, -1, 1 << 100].map(Wide).to_vec()),
        (
            ColumnType::Json,
            vec![bytes("{\"b\": [1,  \"x\"], \"a\":null}"), bytes("null"), bytes("\"s\""), bytes("1.50")],
        ),
        (ColumnType::Jsonb, vec![bytes("[1,2]"), bytes("{\"a\":\"ä\"}"), bytes("null"), bytes("true")]),
    ]
}

fn column(column_type: &ColumnType, values: &[Value<'static>], rows: usize) -> ArrayRef {
    let mut builder = ColumnBuilder::new(column_type, rows);
    for row in 0..rows {
        match row % (values.len() + 1) {
            0 => builder.append(&Value::Null),
            at => builder.append(&values[at - 1]),
        }
    }
    builder.finish()
}

/// A table of all types and of arrays of all types.
fn table(rows: usize) -> (Vec<Target>, RecordBatch) {
    let (mut targets, mut arrays) = (Vec::new(), Vec::new());
    for (index, (column_type, values)) in samples().into_iter().enumerate() {
        let array = column(&column_type, &values, rows);
        let list_type = ColumnType::Array(Box::new(column_type.clone()));
        let lists: Vec<Option<Vec<usize>>> = (0..rows)
            .map(|row| if row % 5 == 4 { None } else { Some((row..row + row % 4).map(|at| at % rows).collect()) })
            .collect();
        arrays.push(Arc::clone(&array));
        targets.push(target(&format!("c{index}"), column_type));
        arrays.push(lists_of(&array, &lists));
        targets.push(target(&format!("List, of \"{index}\""), list_type));
    }
    let schema = super::reader::schema_of(&targets);
    (targets, RecordBatch::try_new(schema, arrays).unwrap())
}

fn lists_of(values: &ArrayRef, lists: &[Option<Vec<usize>>]) -> ArrayRef {
    let indices: Vec<u32> = lists.iter().flatten().flatten().map(|at| *at as u32).collect();
    let taken = arrow::compute::take(values, &arrow::array::UInt32Array::from(indices), None).unwrap();
    let lengths = lists.iter().map(|list| list.as_ref().map_or(0, Vec::len));
    let nulls: arrow::buffer::NullBuffer = lists.iter().map(Option::is_some).collect();
    let field = Arc::new(arrow::datatypes::Field::new_list_field(values.data_type().clone(), true));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Arc::new(arrow::array::ListArray::new(field, offsets, taken, Some(nulls)))
}

fn write(path: &Path, batches: &[RecordBatch]) -> u64 {
    let mut writer = FileWriter::create(path, &options(path), batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap()
}

fn read_all(reader: &mut FileReader) -> evenkeel_model::Result<Vec<RecordBatch>> {
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

#[test]
fn rows_of_all_types_come_back_from_all_formats() {
    let folder = tempfile::tempdir().unwrap();
    let (targets, batch) = table(500);
    for name in NAMES {
        let path = folder.path().join(name);
        let size = write(&path, &[batch.slice(0, 123), batch.slice(123, 0), batch.slice(123, 377)]);
        assert_eq!(size, std::fs::metadata(&path).unwrap().len());
        let mut reader = FileReader::open(&path, &options(&path), &targets).unwrap();
        assert_eq!(reader.provided(), (0..targets.len()).collect::<Vec<_>>());
        let read = concat_batches(&batch.schema(), &read_all(&mut reader).unwrap()).unwrap();
        for (index, target) in targets.iter().enumerate() {
            let (before, after) = (batch.column(index).to_data(), read.column(index).to_data());
            assert!(before == after, "{name}, {}: {before:?} became {after:?}", target.column_type);
        }
        assert_eq!(reader.progress().0, size);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), NAMES.len());
}

#[test]
fn a_single_column_keeps_its_nulls() {
    let folder = tempfile::tempdir().unwrap();
    let targets = [target("t", ColumnType::Text { max_chars: None })];
    let array = column(&targets[0].column_type, &[bytes(""), bytes("x")], 9);
    let batch = RecordBatch::try_new(super::reader::schema_of(&targets), vec![array]).unwrap();
    for name in NAMES {
        let path = folder.path().join(name);
        write(&path, std::slice::from_ref(&batch));
        let mut reader = FileReader::open(&path, &options(&path), &targets).unwrap();
        assert_eq!(read_all(&mut reader).unwrap(), vec![batch.clone()], "{name}");
    }
}

#[test]
fn empty_tables_come_back_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (targets, batch) = table(1);
    for name in NAMES {
        let path = folder.path().join(name);
        write(&path, &[batch.slice(0, 0)]);
        let mut reader = FileReader::open(&path, &options(&path), &targets).unwrap();
        assert!(read_all(&mut reader).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn a_writer_that_does_not_finish_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, batch) = table(10);
    for name in NAMES {
        let path = folder.path().join(name);
        let mut writer = FileWriter::create(&path, &options(&path), batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    let missing = folder.path().join("no/t.csv");
    let error = FileWriter::create(&missing, &options(&missing), batch.schema()).err().unwrap();
    assert_eq!(error.state, SqlState::IoError);
}

struct Given {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn given(name: &str, text: &str) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Given { _folder: folder, path }
}

fn numbers() -> [Target; 3] {
    [
        target("a", ColumnType::Integer),
        target("b", ColumnType::Text { max_chars: None }),
        target("When", ColumnType::TimestampTz),
    ]
}

fn failure(name: &str, text: &str) -> Error {
    let file = given(name, text);
    FileReader::open(&file.path, &options(&file.path), &numbers())
        .and_then(|mut reader| read_all(&mut reader))
        .unwrap_err()
}

#[test]
fn errors_say_where() {
    use SqlState::{BadCopyFileFormat, InvalidDatetimeFormat, InvalidTextRepresentation, UndefinedColumn};
    for (name, text, state, detail) in [
        ("x.csv", "a,b\n1,x\n\n2,\"y\nz\"\nabc,z\n", InvalidTextRepresentation, "x.csv, line 6, column a"),
        ("x.csv", "a,b\n99999999999,x\n", SqlState::NumericValueOutOfRange, "x.csv, line 2, column a"),
        (
            "x.csv",
            "WHEN\n2013-01-01T10:00:00Z\n2013-02-30T10:00:00Z\n",
            InvalidDatetimeFormat,
            "x.csv, line 3, column When",
        ),
        ("x.csv", "a,b\n1\n", BadCopyFileFormat, "x.csv, line 2"),
        ("x.csv", "a,b\n1,2\n1,2,3\n", BadCopyFileFormat, "x.csv, line 3"),
        ("x.csv", "a,b\n1,\"2\n1,2,3\n", BadCopyFileFormat, "x.csv, line 2"),
        ("x.csv", "a,c,d\n1,2,3\n", UndefinedColumn, "x.csv, line 1"),
        ("x.csv", "a,A\n1,2\n", SqlState::DuplicateColumn, "x.csv, line 1"),
        ("x.ndjson", "{\"a\":1}\n{\"a\":\"x\"}\n", InvalidTextRepresentation, "x.ndjson, line 2, column a"),
        ("x.json", "[{\"a\":1},\n{\"a\" 2}]", BadCopyFileFormat, "x.json, line 2"),
        ("x.json", "[{\"a\":1},\n2]", BadCopyFileFormat, "x.json, line 2"),
        ("x.json", "[{\"e\":1}]", UndefinedColumn, "a key in x.json"),
    ] {
        let error = failure(name, text);
        assert_eq!((error.state, error.detail.as_deref()), (state, Some(detail)), "{text:?}: {error}");
    }
    assert_eq!(failure("x.csv", "a,b\nabc,x\n").message, "invalid input for type integer: \"abc\"");
    for name in ["x.csv.gz", "x.csv.zst"] {
        assert_eq!(failure(name, "a,b\n").state, SqlState::IoError);
    }
    for name in ["x.parquet", "x.arrow"] {
        assert_eq!(failure(name, "a,b\n").state, BadCopyFileFormat);
    }
    let near = given("flights.csv", "");
    let error = FileReader::open(&near.path.with_file_name("flihgts.csv"), &options(&near.path), &[]).err().unwrap();
    assert_eq!(error.state, SqlState::UndefinedFile);
    assert!(error.hint.unwrap().contains("flights.csv"));
}

#[test]
fn columns_are_matched_by_name() {
    for (name, text) in [
        ("x.csv", "when,A\n2013-01-01 10:00:00+00,7\n,\n"),
        ("x.tsv", "when\tA\n2013-01-01 10:00:00+00\t7\n\\N\t\\N\n"),
        ("x.json", "[{\"when\":\"2013-01-01 10:00:00+00\",\"a\":7.0},{\"when\":null}]"),
        ("x.ndjson", "{\"when\":\"2013-01-01 10:00:00+00\",\"a\":\"7\"}\n{}\n"),
    ] {
        let file = given(name, text);
        let mut reader = FileReader::open(&file.path, &options(&file.path), &numbers()).unwrap();
        assert_eq!(reader.provided(), [2, 0], "{name}");
        let batches = read_all(&mut reader).unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let cells: Vec<&str> = shown.split(['|', '\n']).map(str::trim).filter(|cell| !cell.starts_with('+')).collect();
        let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["When", "a", "2013-01-01T10:00:00Z", "7"], "{name}");
        assert_eq!(batches[0].num_rows(), 2);
    }
}

#[test]
fn files_of_other_types_are_cast_strictly() {
    use arrow::array::{Float64Array, Int64Array, StringArray};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let write = |array: ArrayRef| {
        let batch = RecordBatch::try_from_iter([("A", array)]).unwrap();
        super::tests::write(&path, &[batch]);
        let targets = [target("a", ColumnType::SmallInt)];
        FileReader::open(&path, &options(&path), &targets).and_then(|mut reader| read_all(&mut reader))
    };
    assert_eq!(write(Arc::new(Int64Array::from(vec![1, 2]))).unwrap()[0].num_rows(), 2);
    assert_eq!(write(Arc::new(Float64Array::from(vec![Some(1.0), None]))).unwrap()[0].num_rows(), 2);
    assert_eq!(write(Arc::new(StringArray::from(vec!["1", "2"]))).unwrap()[0].num_rows(), 2);
    for (array, state) in [
        (Arc::new(Int64Array::from(vec![1, 99_999])) as ArrayRef, SqlState::NumericValueOutOfRange),
        (Arc::new(Float64Array::from(vec![1.0, 1.5])), SqlState::InvalidTextRepresentation),
        (Arc::new(StringArray::from(vec!["1", "x"])), SqlState::InvalidTextRepresentation),
    ] {
        let error = write(array).unwrap_err();
        assert_eq!((error.state, error.detail.as_deref()), (state, Some("x.parquet, row 2, column a")));
    }
}
