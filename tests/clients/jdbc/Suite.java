import java.io.IOException;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;

/**
 * PostgreSQL's JDBC driver: types in text and in binary, errors, transactions, batches, rows in parts, COPY, metadata, PQL.
 *
 * <p>Where the server is stands in libpq's environment variables, which {@code run} sets. The first argument names the
 * JUnit report to write; the exit code is 1 where a case failed.
 */
public final class Suite {
    private static final boolean TLS = "require".equals(System.getenv("PGSSLMODE"));
    private static final String LONG = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    private static final AtomicInteger NUMBERS = new AtomicInteger();

    private Suite() {}

    /** What a case does with a connection of its own. */
    interface Case {
        void run(Connection connection) throws Exception;
    }

    /** A case that failed says why. */
    private record Outcome(String name, double seconds, Throwable failure) {}

    private final List<Outcome> outcomes = new ArrayList<>();

    public static void main(String[] arguments) throws IOException {
        Suite suite = new Suite();
        suite.connections();
        suite.types();
        suite.statements();
        suite.errors();
        suite.transactions();
        suite.parts();
        suite.copying();
        suite.interrupting();
        suite.metadata();
        suite.pql();
        Files.writeString(Path.of(arguments[0]), suite.report());
        System.exit(suite.outcomes.stream().anyMatch(outcome -> outcome.failure() != null) ? 1 : 0);
    }

    // ---- The runner.

    private void test(String name, Case body) {
        test(name, new Properties(), body);
    }

    private void test(String name, Properties more, Case body) {
        long began = System.nanoTime();
        Throwable failure = null;
        try (Connection connection = connect(more)) {
            body.run(connection);
        } catch (Exception | AssertionError error) {
            failure = error;
            System.out.println("FAILED " + name);
            error.printStackTrace(System.out);
        }
        outcomes.add(new Outcome(name, (System.nanoTime() - began) / 1e9, failure));
    }

    private String report() {
        StringBuilder cases = new StringBuilder();
        for (Outcome outcome : outcomes) {
            String failure = outcome.failure() == null ? "" : "<failure>" + escaped(outcome.failure()) + "</failure>";
            String attributes = String.format("name=\"%s\" time=\"%.3f\"", escaped(outcome.name()), outcome.seconds());
            cases.append("<testcase ").append(attributes).append(">").append(failure).append("</testcase>\n");
        }
        return "<testsuite name=\"jdbc\">\n" + cases + "</testsuite>\n";
    }

    private static String escaped(Object text) {
        String plain = String.valueOf(text).replaceAll("[^\\t\\n\\x20-\\uD7FF]", "?");
        return plain.replace("&", "&amp;").replace("<", "&lt;").replace("\"", "&quot;");
    }

    private static void same(Object wanted, Object found) {
        if (!Objects.deepEquals(wanted, found)) {
            throw new AssertionError("wanted " + shown(wanted) + ", found " + shown(found));
        }
    }

    private static String shown(Object value) {
        return value instanceof Object[] values ? Arrays.deepToString(values) : String.valueOf(value);
    }

    private static SQLException fails(String state, Case body, Connection connection) throws Exception {
        try {
            body.run(connection);
        } catch (SQLException error) {
            if (!state.equals(error.getSQLState())) {
                throw new AssertionError("wanted " + state + ", found " + error.getSQLState(), error);
            }
            return error;
        }
        throw new AssertionError("it did not fail, with " + state);
    }

    private static SQLException fails(String state, Connection connection, String statement) throws Exception {
        return fails(state, c -> execute(c, statement), connection);
    }

    // ---- What cases are made of.

    private static Properties with(String... pairs) {
        Properties properties = new Properties();
        for (int at = 0; at < pairs.length; at += 2) {
            properties.setProperty(pairs[at], pairs[at + 1]);
        }
        return properties;
    }

    private static Connection connect(Properties more) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/evenkeel";
        Properties properties = with("user", System.getenv("PGUSER"), "password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", System.getenv("PGSSLMODE"));
        properties.putAll(more);
        return DriverManager.getConnection(url, properties);
    }

    private static void execute(Connection connection, String statement) throws SQLException {
        try (Statement made = connection.createStatement()) {
            made.execute(statement);
        }
    }

    private static int change(Connection connection, String statement, Object... values) throws SQLException {
        try (PreparedStatement made = connection.prepareStatement(statement)) {
            set(made, values);
            return made.executeUpdate();
        }
    }

    private static void set(PreparedStatement statement, Object... values) throws SQLException {
        for (int at = 0; at < values.length; at++) {
            statement.setObject(at + 1, values[at]);
        }
    }

    /** The first column of every row. */
    private static List<Object> column(Connection connection, String query, Object... values) throws SQLException {
        try (PreparedStatement made = connection.prepareStatement(query)) {
            set(made, values);
            List<Object> found = new ArrayList<>();
            try (ResultSet rows = made.executeQuery()) {
                while (rows.next()) {
                    found.add(rows.getObject(1));
                }
            }
            return found;
        }
    }

    private static long number(Connection connection, String query) throws SQLException {
        return ((Number) column(connection, query).get(0)).longValue();
    }

    /** A name that no other case uses. */
    private static String name() {
        return "t" + NUMBERS.incrementAndGet();
    }

    /** A table of two columns with three rows. */
    private static String table(Connection connection) throws SQLException {
        String name = name();
        execute(connection, "CREATE TABLE " + name + " (id INTEGER PRIMARY KEY, name TEXT)");
        execute(connection, "INSERT INTO " + name + " VALUES (1, 'one'), (2, 'two'), (3, NULL)");
        return name;
    }

    // ---- Cases.

    private void connections() {
        test("the server says what it is", connection -> {
            DatabaseMetaData about = connection.getMetaData();
            same("PostgreSQL", about.getDatabaseProductName());
            same(15, about.getDatabaseMajorVersion());
            same(true, connection.isValid(5));
        });
        test("a wrong password", connection -> fails("28P01", c -> connect(with("password", "wrong")).close(), connection));
        test("an unknown user", connection -> fails("28P01", c -> connect(with("user", "nobody")).close(), connection));
        test("encryption is what was asked for", connection -> {
            // Where the other is all there is.
            String other = TLS ? "disable" : "require";
            String state = TLS ? "28000" : "08004";
            fails(state, c -> connect(with("sslmode", other)).close(), connection);
        });
        test("a certificate that nobody vouches for is not trusted", connection -> {
            if (TLS) {
                fails("08006", c -> connect(with("sslmode", "verify-full")).close(), connection);
            }
        });
        test("a name for the application", with("ApplicationName", "proof"), connection ->
            same(List.of("proof"), column(connection, "SHOW application_name")));
        test("simple queries only", with("preferQueryMode", "simple"), connection -> {
            String name = table(connection);
            same(1, change(connection, "UPDATE " + name + " SET name = ? WHERE id = ?", "it's", 1));
            same(List.of("it's"), column(connection, "SELECT name FROM " + name + " WHERE id = ?", 1));
        });
    }

    private void types() {
        // -1: every answer that can be is in binary from the first one on.
        for (String threshold : List.of("5", "-1")) {
            Properties properties = with("prepareThreshold", threshold);
            String form = threshold.equals("5") ? "text" : "binary";
            comesBack(form, properties, "boolean", true, false);
            comesBack(form, properties, "smallint", 0, -32768, 32767);
            comesBack(form, properties, "integer", 0, Integer.MIN_VALUE, Integer.MAX_VALUE);
            comesBack(form, properties, "bigint", 0L, Long.MIN_VALUE, Long.MAX_VALUE);
            comesBack(form, properties, "real", 0f, 1.5f, -2.25e30f, Float.POSITIVE_INFINITY, Float.NaN);
            comesBack(form, properties, "double precision", 0.1, -1e300, Double.MIN_VALUE, Double.NEGATIVE_INFINITY);
            comesBack(form, properties, "decimal(12,3)", new BigDecimal("0.000"), new BigDecimal("-123456789.125"));
            comesBack(form, properties, "text", "", "ä € 🚢 'quoted' \\ back", "line\nbreak", "x".repeat(100_000));
            comesBack(form, properties, "varchar(5)", "abcde", "ä€");
            comesBack(form, properties, "bytea", new byte[] {}, new byte[] {0, 1, -1, 92});
            comesBack(form, properties, "date", LocalDate.of(1969, 12, 31), LocalDate.of(2024, 2, 29));
            comesBack(form, properties, "time", LocalTime.MIDNIGHT, LocalTime.of(23, 59, 59, 999_999_000));
            comesBack(form, properties, "timestamp", LocalDateTime.of(2013, 1, 1, 5, 15, 0, 123_456_000));
            comesBack(form, properties, "timestamptz", OffsetDateTime.of(2026, 7, 1, 12, 30, 0, 1_000, ZoneOffset.UTC));
            comesBack(form, properties, "uuid", new UUID(0, 0), UUID.fromString("12345678-9abc-def0-1234-56789abcdef0"));
            comesBack(form, properties, "interval", new PGInterval(1, 2, 3, 4, 5, 6.5), new PGInterval(0, 0, -3, 0, 0, 0));
            arrays(form, properties);
        }
        test("documents", connection -> {
            String name = name();
            execute(connection, "CREATE TABLE " + name + " (id INTEGER PRIMARY KEY, a JSON, b JSONB)");
            PGobject document = new PGobject();
            document.setType("jsonb");
            document.setValue("{\"a\":[1,null,\"ä\"]}");
            change(connection, "INSERT INTO " + name + " VALUES (1, ?::json, ?)", document.getValue(), document);
            same(List.of("ä"), column(connection, "SELECT b -> 'a' ->> 2 FROM " + name));
            PGobject found = (PGobject) column(connection, "SELECT b FROM " + name).get(0);
            same("jsonb", found.getType());
        });
    }

    private void comesBack(String form, Properties properties, String type, Object... values) {
        test(type + " in " + form, properties, connection -> {
            String name = name();
            execute(connection, "CREATE TABLE " + name + " (id INTEGER PRIMARY KEY, v " + type + ")");
            for (int at = 0; at < values.length; at++) {
                same(1, change(connection, "INSERT INTO " + name + " VALUES (?, ?)", at, values[at]));
            }
            change(connection, "INSERT INTO " + name + " VALUES (?, ?)", values.length, null);
            try (PreparedStatement find = connection.prepareStatement("SELECT v FROM " + name + " WHERE id = ?")) {
                for (int at = 0; at <= values.length; at++) {
                    find.setInt(1, at);
                    try (ResultSet rows = find.executeQuery()) {
                        same(true, rows.next());
                        if (at == values.length) {
                            same(null, rows.getObject(1));
                            same(true, rows.wasNull());
                        } else {
                            boolean bytes = values[at] instanceof byte[];
                            same(values[at], bytes ? rows.getBytes(1) : rows.getObject(1, values[at].getClass()));
                        }
                    }
                }
            }
        });
    }

    private void arrays(String form, Properties properties) {
        test("arrays in " + form, properties, connection -> {
            String name = name();
            execute(connection, "CREATE TABLE " + name + " (id INTEGER PRIMARY KEY, n INTEGER[], s TEXT[])");
            Array numbers = connection.createArrayOf("integer", new Integer[] {1, null, -3});
            Array texts = connection.createArrayOf("text", new String[] {"a", "", null, "q\"uo,te{d}"});
            change(connection, "INSERT INTO " + name + " VALUES (?, ?, ?)", 1, numbers, texts);
            Array found = (Array) column(connection, "SELECT n FROM " + name).get(0);
            same(new Integer[] {1, null, -3}, found.getArray());
            found = (Array) column(connection, "SELECT s FROM " + name).get(0);
            same(new String[] {"a", "", null, "q\"uo,te{d}"}, found.getArray());
            same(List.of(1), column(connection, "SELECT id FROM " + name + " WHERE id = ANY(?)", numbers));
        });
    }

    private void statements() {
        test("rows are counted", connection -> {
            String name = table(connection);
            same(2, change(connection, "UPDATE " + name + " SET name = ? WHERE id > ?", "x", 1));
            same(0, change(connection, "DELETE FROM " + name + " WHERE id = ?", 99));
        });
        test("a prepared statement is carried out often", connection -> {
            String name = table(connection);
            try (PreparedStatement find = connection.prepareStatement("SELECT name FROM " + name + " WHERE id = ?")) {
                for (int round = 0; round < 20; round++) {
                    find.setInt(1, 1 + round % 2);
                    try (ResultSet rows = find.executeQuery()) {
                        same(true, rows.next());
                        same(round % 2 == 0 ? "one" : "two", rows.getString("name"));
                    }
                }
            }
        });
        test("parameters and columns are described", connection -> {
            String name = table(connection);
            String query = "SELECT id, name, count(*) OVER () AS n FROM " + name + " WHERE id = ? AND name = ?";
            try (PreparedStatement made = connection.prepareStatement(query)) {
                same(2, made.getParameterMetaData().getParameterCount());
                same(Types.INTEGER, made.getParameterMetaData().getParameterType(1));
                same(Types.VARCHAR, made.getParameterMetaData().getParameterType(2));
                same(3, made.getMetaData().getColumnCount());
                same("name", made.getMetaData().getColumnLabel(2));
                same(Types.BIGINT, made.getMetaData().getColumnType(3));
            }
        });
        for (String rewrite : List.of("false", "true")) {
            test("batches, rewritten: " + rewrite, with("reWriteBatchedInserts", rewrite), connection -> {
                String name = table(connection);
                try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + name + " VALUES (?, ?)")) {
                    for (int id = 100; id < 400; id++) {
                        set(insert, id, "n" + id);
                        insert.addBatch();
                    }
                    same(300, insert.executeBatch().length);
                }
                same(303L, number(connection, "SELECT count(*) FROM " + name));
            });
        }
        test("a batch that fails says where", connection -> {
            String name = table(connection);
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + name + " VALUES (?, ?)")) {
                for (int id : new int[] {10, 1, 11}) {
                    set(insert, id, "n");
                    insert.addBatch();
                }
                try {
                    insert.executeBatch();
                    throw new AssertionError("a key twice");
                } catch (BatchUpdateException error) {
                    same("23505", error.getSQLState());
                }
            }
        });
        test("keys are returned", connection -> {
            String name = table(connection);
            String insert = "INSERT INTO " + name + " VALUES (7, 'seven')";
            try (PreparedStatement made = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
                same(1, made.executeUpdate());
                try (ResultSet keys = made.getGeneratedKeys()) {
                    same(true, keys.next());
                    same(7, keys.getInt("id"));
                }
            }
        });
        test("several statements in one text", connection -> {
            try (Statement made = connection.createStatement()) {
                same(true, made.execute("SELECT 1; SELECT 'two'"));
                same(true, made.getMoreResults());
                ResultSet rows = made.getResultSet();
                same(true, rows.next());
                same("two", rows.getString(1));
            }
        });
        test("numbers of rows as parameters", connection -> {
            String name = table(connection);
            same(List.of(2), column(connection, "SELECT id FROM " + name + " ORDER BY id LIMIT ? OFFSET ?", 1, 1));
        });
        test("escapes of JDBC", connection -> {
            same(List.of("ab"), column(connection, "SELECT {fn concat('a', 'b')}"));
            same(1L, number(connection, "SELECT count(*) WHERE {d '2024-02-29'} > {ts '2013-01-01 00:00:00'}"));
        });
    }

    private void errors() {
        String[][] wrong = {
            {"42601", "SELEC 1"},
            {"42P01", "SELECT * FROM nowhere"},
            {"42703", "SELECT nmae FROM system.shards"},
            {"22012", "SELECT 1 / 0"},
            {"22P02", "SELECT 'x'::integer"},
            {"22003", "SELECT 70000::smallint"},
            {"42883", "SELECT no_such_function()"},
        };
        for (String[] pair : wrong) {
            test(pair[0] + ": " + pair[1], connection -> {
                fails(pair[0], connection, pair[1]);
                same(1L, number(connection, "SELECT 1"));
            });
        }
        test("constraints", connection -> {
            String name = table(connection);
            fails("23505", connection, "INSERT INTO " + name + " VALUES (1, 'again')");
            fails("23502", connection, "INSERT INTO " + name + " VALUES (NULL, 'no key')");
        });
        test("where, and what to do", connection -> {
            SQLException error = fails("42703", connection, "SELECT 'ä', shrad_id FROM system.shards");
            var said = ((org.postgresql.util.PSQLException) error).getServerErrorMessage();
            same(13, said.getPosition());
            same(true, said.getHint().contains("shard_id"));
        });
    }

    private void transactions() {
        test("commit and rollback", connection -> {
            String name = table(connection);
            try (Connection other = connect(new Properties())) {
                other.setAutoCommit(false);
                change(other, "INSERT INTO " + name + " VALUES (?, ?)", 10, "kept");
                same(3L, number(connection, "SELECT count(*) FROM " + name));
                other.commit();
                change(other, "DELETE FROM " + name);
                other.rollback();
            }
            same(4L, number(connection, "SELECT count(*) FROM " + name));
        });
        test("a failed transaction takes nothing but rollback", connection -> {
            connection.setAutoCommit(false);
            fails("22012", connection, "SELECT 1 / 0");
            fails("25P02", connection, "SELECT 1");
            connection.rollback();
            same(1L, number(connection, "SELECT 1"));
        });
        test("savepoints", connection -> {
            String name = table(connection);
            connection.setAutoCommit(false);
            change(connection, "INSERT INTO " + name + " VALUES (?, ?)", 10, "kept");
            Savepoint savepoint = connection.setSavepoint("here");
            fails("23505", connection, "INSERT INTO " + name + " VALUES (10, 'again')");
            connection.rollback(savepoint);
            connection.releaseSavepoint(savepoint);
            connection.commit();
            connection.setAutoCommit(true);
            same(List.of("kept"), column(connection, "SELECT name FROM " + name + " WHERE id = 10"));
        });
        test("savepoints before every statement", with("autosave", "always"), connection -> {
            String name = table(connection);
            connection.setAutoCommit(false);
            change(connection, "INSERT INTO " + name + " VALUES (?, ?)", 10, "kept");
            fails("23505", connection, "INSERT INTO " + name + " VALUES (10, 'again')");
            connection.commit();
            same(4L, number(connection, "SELECT count(*) FROM " + name));
        });
        test("read only", connection -> {
            String name = table(connection);
            connection.setReadOnly(true);
            connection.setAutoCommit(false);
            fails("25006", connection, "DELETE FROM " + name);
            connection.rollback();
        });
        test("the isolation there is", connection -> {
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            same(Connection.TRANSACTION_REPEATABLE_READ, connection.getTransactionIsolation());
        });
        test("of two writers one is told to try again", connection -> {
            String name = table(connection);
            connection.setAutoCommit(false);
            same(3L, number(connection, "SELECT count(*) FROM " + name));
            try (Connection other = connect(new Properties())) {
                change(other, "UPDATE " + name + " SET name = 'first' WHERE id = 1");
            }
            fails("40001", c -> {
                change(c, "UPDATE " + name + " SET name = 'second' WHERE id = 1");
                c.commit();
            }, connection);
            connection.rollback();
        });
    }

    private void parts() {
        test("rows are fetched in parts", connection -> {
            connection.setAutoCommit(false);
            try (Statement made = connection.createStatement()) {
                made.setFetchSize(100);
                long sum = 0;
                try (ResultSet rows = made.executeQuery("SELECT v FROM generate_series(1, 2550) AS s(v)")) {
                    while (rows.next()) {
                        sum += rows.getLong(1);
                        if (rows.getRow() == 150) {
                            // Another statement, while this one is not read to its end.
                            same(1L, number(connection, "SELECT 1"));
                        }
                    }
                }
                same(2550L * 2551 / 2, sum);
            }
            connection.commit();
        });
        test("rows are fetched in parts of which the last is whole", connection -> {
            connection.setAutoCommit(false);
            try (Statement made = connection.createStatement()) {
                made.setFetchSize(10);
                int count = 0;
                try (ResultSet rows = made.executeQuery("SELECT v FROM generate_series(1, 30) AS s(v)")) {
                    while (rows.next()) {
                        count++;
                    }
                }
                same(30, count);
            }
            connection.commit();
        });
        test("no more rows than wanted", connection -> {
            try (Statement made = connection.createStatement()) {
                made.setMaxRows(7);
                try (ResultSet rows = made.executeQuery("SELECT v FROM generate_series(1, 100) AS s(v)")) {
                    int count = 0;
                    while (rows.next()) {
                        count++;
                    }
                    same(7, count);
                }
            }
        });
        test("rows forwards and backwards", connection -> {
            String name = table(connection);
            int scroll = ResultSet.TYPE_SCROLL_INSENSITIVE;
            try (Statement made = connection.createStatement(scroll, ResultSet.CONCUR_READ_ONLY);
                    ResultSet rows = made.executeQuery("SELECT id FROM " + name + " ORDER BY id")) {
                same(true, rows.last());
                same(3, rows.getInt(1));
                same(true, rows.absolute(1));
                same(1, rows.getInt("id"));
            }
        });
    }

    private void copying() {
        test("rows are copied in and out", connection -> {
            String name = table(connection);
            CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
            same(2L, manager.copyIn("COPY " + name + " FROM STDIN", new StringReader("10\ttab\\t\n11\t\\N\n")));
            StringWriter out = new StringWriter();
            String query = "COPY (SELECT * FROM " + name + " WHERE id >= 10 ORDER BY id) TO STDOUT";
            same(2L, manager.copyOut(query, out));
            same("10\ttab\\t\n11\t\\N\n", out.toString());
        });
        test("csv is copied", connection -> {
            String name = table(connection);
            CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
            String rows = "id,name\n20,\"a,b\"\n21,\n";
            same(2L, manager.copyIn("COPY " + name + " FROM STDIN WITH (FORMAT csv, HEADER)", new StringReader(rows)));
            StringWriter out = new StringWriter();
            String query = "COPY (SELECT * FROM " + name + " WHERE id >= 20 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)";
            same(2L, manager.copyOut(query, out));
            same(rows, out.toString());
        });
        test("a copy that fails leaves nothing", connection -> {
            String name = table(connection);
            CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
            String statement = "COPY " + name + " FROM STDIN";
            fails("22P02", c -> manager.copyIn(statement, new StringReader("10\tgood\nbad\tbad\n")), connection);
            same(3L, number(connection, "SELECT count(*) FROM " + name));
        });
        test("a copy that is given up leaves nothing", connection -> {
            String name = table(connection);
            var copy = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY " + name + " FROM STDIN");
            byte[] row = "10\tgood\n".getBytes(StandardCharsets.UTF_8);
            copy.writeToCopy(row, 0, row.length);
            copy.cancelCopy();
            same(3L, number(connection, "SELECT count(*) FROM " + name));
        });
    }

    private void interrupting() {
        test("a statement is cancelled", connection -> {
            int backend = connection.unwrap(PGConnection.class).getBackendPID();
            try (Statement made = connection.createStatement(); Connection watcher = connect(new Properties())) {
                Thread canceller = new Thread(() -> {
                    try {
                        String query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid = " + backend;
                        while (number(watcher, query) != 1) {
                            Thread.onSpinWait();
                        }
                        made.cancel();
                    } catch (SQLException error) {
                        error.printStackTrace(System.out);
                    }
                });
                canceller.start();
                fails("57014", c -> made.execute(LONG), connection);
                canceller.join();
            }
            same(1L, number(connection, "SELECT 1"));
        });
        test("a statement that takes too long ends", connection -> {
            try (Statement made = connection.createStatement()) {
                made.setQueryTimeout(1);
                fails("57014", c -> made.execute(LONG), connection);
            }
        });
        test("notices come", connection -> {
            String name = table(connection);
            try (Statement made = connection.createStatement()) {
                made.execute("CREATE TABLE IF NOT EXISTS " + name + " (id INTEGER PRIMARY KEY)");
                same("table \"" + name + "\" exists already, skipping", made.getWarnings().getMessage());
            }
        });
    }

    private void metadata() {
        test("tables", connection -> {
            String name = table(connection);
            try (ResultSet rows = connection.getMetaData().getTables(null, "public", name, new String[] {"TABLE"})) {
                same(true, rows.next());
                same(name, rows.getString("TABLE_NAME"));
                same("TABLE", rows.getString("TABLE_TYPE"));
                same(false, rows.next());
            }
        });
        test("columns", connection -> {
            String name = name();
            String columns = "(id BIGINT PRIMARY KEY, name VARCHAR(7) NOT NULL, price DECIMAL(9,2) DEFAULT 1.5)";
            execute(connection, "CREATE TABLE " + name + " " + columns);
            List<String> found = new ArrayList<>();
            try (ResultSet rows = connection.getMetaData().getColumns(null, null, name, null)) {
                while (rows.next()) {
                    String size = rows.getString("COLUMN_SIZE") + "," + rows.getString("DECIMAL_DIGITS");
                    String column = rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME");
                    found.add(column + " " + size + " " + rows.getString("IS_NULLABLE"));
                }
            }
            same(List.of("id int8 19,0 NO", "name varchar 7,0 NO", "price numeric 9,2 YES"), found);
        });
        test("primary keys", connection -> {
            String name = name();
            execute(connection, "CREATE TABLE " + name + " (a INTEGER, b TEXT, c TEXT, PRIMARY KEY (b, a))");
            List<String> found = new ArrayList<>();
            try (ResultSet rows = connection.getMetaData().getPrimaryKeys(null, null, name)) {
                while (rows.next()) {
                    found.add(rows.getString("COLUMN_NAME") + " " + rows.getInt("KEY_SEQ"));
                }
            }
            found.sort(null);
            same(List.of("a 2", "b 1"), found);
        });
        test("schemas, types and indexes", connection -> {
            DatabaseMetaData about = connection.getMetaData();
            List<String> schemas = new ArrayList<>();
            try (ResultSet rows = about.getSchemas()) {
                while (rows.next()) {
                    schemas.add(rows.getString("TABLE_SCHEM"));
                }
            }
            same(true, schemas.contains("public"));
            String name = table(connection);
            try (ResultSet rows = about.getIndexInfo(null, null, name, false, false)) {
                same(true, rows.next());
                same("id", rows.getString("COLUMN_NAME"));
            }
            try (ResultSet rows = about.getImportedKeys(null, null, name)) {
                same(false, rows.next());
            }
            try (ResultSet rows = about.getTypeInfo()) {
                same(true, rows.next());
            }
        });
    }

    private void pql() {
        test("pipelines take parameters", connection -> {
            String name = table(connection);
            String query = "QUERY " + name + " WHERE id >= ? SELECT shout = upper(name) ORDER BY id LIMIT ?";
            same(Arrays.asList("TWO", null), column(connection, query, 2, 5));
        });
        test("system tables", connection -> {
            String query = "QUERY SYSTEM.SHARDS SELECT shard_id ORDER BY shard_id";
            same(List.of(1L, 2L, 3L, 4L), column(connection, query));
        });
        test("statements about shards", connection -> {
            String name = table(connection);
            column(connection, "EXPLAIN REBALANCE SHARDS WITH strategy = 'rows'");
            same(16, ((String) column(connection, "LOCATE " + name + " KEY (?)", 1).get(0)).length());
            same(4, column(connection, "SHOW SHARDS").size());
        });
        test("a job is begun and waited for", connection -> {
            Object job = column(connection, "MOVE SLOTS 0 TO 4 FROM SHARD 1 TO SHARD 2").get(0);
            execute(connection, "WAIT FOR JOB LAST TIMEOUT '60s'");
            same(List.of("done"), column(connection, "QUERY SYSTEM.JOBS WHERE job_id = ? SELECT state", job));
            execute(connection, "REBALANCE SHARDS WITH strategy = 'uniform'");
            execute(connection, "WAIT FOR JOB ALL TIMEOUT '60s'");
        });
    }
}
