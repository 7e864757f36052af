// node-postgres: types in text and in binary, errors, transactions, cursors by row limits, COPY, cancelling, PQL.
//
// Where the server is stands in libpq's own environment variables, which `run` sets.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pg from 'pg';
import copy from 'pg-copy-streams';
import Cursor from 'pg-cursor';

const TLS = process.env.PGSSLMODE === 'require';
delete process.env.PGSSLMODE;

const options = {
  // The certificate is one that nobody vouches for.
  ssl: TLS ? { rejectUnauthorized: false } : false,
};

async function connected(more = {}) {
  const client = new pg.Client({ ...options, ...more });
  await client.connect();
  return client;
}

let client;
let numbers = 0;
const opened = [];

before(async () => {
  client = await connected();
});

after(async () => {
  await Promise.all(opened.map((other) => other.end()));
  await client.end();
});

/** Another connection, which ends with the suite. */
async function another(more) {
  const other = await connected(more);
  opened.push(other);
  return other;
}

/** A table of two columns with three rows. */
async function table() {
  const name = `t${numbers++}`;
  await client.query(`CREATE TABLE ${name} (id INTEGER PRIMARY KEY, name TEXT)`);
  await client.query(`INSERT INTO ${name} VALUES (1, 'one'), (2, 'two'), (3, NULL)`);
  return name;
}

async function values(query, parameters) {
  const { rows } = await client.query({ text: query, values: parameters, rowMode: 'array' });
  return rows;
}

function fails(promise, code) {
  return assert.rejects(promise, (error) => {
    assert.equal(error.code, code, error.message);
    return true;
  });
}

describe('types', () => {
  const date = (text) => new Date(text);
  const types = [
    ['boolean', [true, false]],
    ['smallint', [0, -32768, 32767]],
    ['integer', [0, -2147483648, 2147483647]],
    ['bigint', ['0', '-9223372036854775808', '9223372036854775807']],
    ['real', [0, 1.5, -0.25]],
    ['double precision', [0.1, -1e300, 5e-324, Infinity]],
    ['decimal(12,3)', ['0.000', '-123456789.125']],
    ['text', ['', 'plain', `ä € 🚢 'quoted' \\ back`, 'line\nbreak', 'x'.repeat(100000)]],
    ['varchar(5)', ['abcde', '🚢🚢']],
    ['bytea', [Buffer.from([]), Buffer.from([0, 1, 255, 92])]],
    ['time', ['00:00:00', '23:59:59.999999']],
    ['timestamptz', [date('1900-01-01T00:00:00Z'), date('2026-07-01T12:30:00.001Z')]],
    ['uuid', ['12345678-9abc-def0-1234-56789abcdef0']],
    ['json', [{ a: [1, null, 'ä'] }]],
    ['jsonb', [{ a: { b: true } }]],
    ['integer[]', [[], [1, null, -3]]],
    ['text[]', [['a', '', null, 'q"uo,te{d}', 'NULL']]],
    ['boolean[]', [[true, null, false]]],
    ['double precision[]', [[0.5, -1e100]]],
  ];
  for (const [type, wanted] of types) {
    test(`${type} comes back`, async () => {
      const name = `t${numbers++}`;
      await client.query(`CREATE TABLE ${name} (id INTEGER PRIMARY KEY, v ${type})`);
      for (const [at, value] of [...wanted, null].entries()) {
        await client.query(`INSERT INTO ${name} VALUES ($1, $2)`, [at, value]);
      }
      const found = await values(`SELECT v FROM ${name} ORDER BY id`);
      assert.deepEqual(found.flat(1), [...wanted, null]);
    });
  }

  test('dates and times without a zone are taken for local ones, as the driver has it', async () => {
    const [[day, moment]] = await values(`SELECT '2024-02-29'::date, '2013-01-01 05:15:00.5'::timestamp`);
    assert.deepEqual(day, new Date(2024, 1, 29));
    assert.deepEqual(moment, new Date(2013, 0, 1, 5, 15, 0, 500));
  });

  test('intervals have parts', async () => {
    const [[interval]] = await values(`SELECT '1 year 2 months 3 days 04:05:06.5'::interval`);
    const parts = { years: 1, months: 2, days: 3, hours: 4, minutes: 5, seconds: 6, milliseconds: 500 };
    assert.deepEqual({ ...interval }, parts);
  });

  test('values in binary', async () => {
    const query = `SELECT 7::integer, 8::smallint, 9::bigint, 1.5::real, 0.1::float8, true, 'ä'::text, '\\x00ff'::bytea,
      '{1,2}'::integer[], '2026-01-01 00:00:00+00'::timestamptz`;
    const { rows } = await client.query({ text: query, binary: true, rowMode: 'array' });
    const wanted = [7, 8, '9', 1.5, 0.1, true, 'ä', Buffer.from([0, 255]), [1, 2], date('2026-01-01T00:00:00Z')];
    assert.deepEqual(rows[0], wanted);
  });

  test('not a number', async () => {
    assert.deepEqual(await values(`SELECT 'NaN'::float8`), [[NaN]]);
  });

  test('columns are described', async () => {
    const { fields } = await client.query(`SELECT 1::integer AS id, 'x'::text, now(), 1.5::numeric(9,2), count(*)`);
    assert.deepEqual(
      fields.map(({ name, dataTypeID }) => [name, dataTypeID]),
      [['id', 23], ['text', 25], ['now', 1184], ['numeric', 1700], ['count', 20]],
    );
  });
});

describe('connections', () => {
  test('encryption is what was asked for', () => {
    assert.equal(Boolean(client.connection.stream.encrypted), TLS);
  });

  test('the certificate of nobody is not trusted unasked', async (t) => {
    if (!TLS) {
      await assert.rejects(connected({ ssl: { rejectUnauthorized: false } }), /does not support SSL/);
      return;
    }
    await assert.rejects(connected({ ssl: true }), /self.signed/);
  });

  test('a wrong password', () => fails(connected({ password: 'wrong' }), '28P01'));
  test('an unknown user', () => fails(connected({ user: 'nobody' }), '28P01'));

  test('a name for the application, and a limit for statements', async () => {
    const other = await another({ application_name: 'proof', statement_timeout: 50 });
    const { rows } = await other.query('SHOW application_name');
    assert.equal(rows[0].application_name, 'proof');
    await fails(other.query(LONG), '57014');
  });

  test('a pool', async () => {
    const pool = new pg.Pool({ ...options, max: 4 });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query('SELECT $1::integer AS n', [n])));
    assert.deepEqual(answers.map(({ rows }) => rows[0].n), Array.from({ length: 40 }, (_, n) => n));
    await pool.end();
  });
});

describe('statements', () => {
  test('rows are objects, and counted', async () => {
    const name = await table();
    const { rows, rowCount, command } = await client.query(`SELECT * FROM ${name} ORDER BY id`);
    assert.deepEqual(rows, [{ id: 1, name: 'one' }, { id: 2, name: 'two' }, { id: 3, name: null }]);
    assert.deepEqual([rowCount, command], [3, 'SELECT']);
    const changed = await client.query(`UPDATE ${name} SET name = 'x' WHERE id > $1`, [1]);
    assert.deepEqual([changed.rowCount, changed.command], [2, 'UPDATE']);
    const inserted = await client.query(`INSERT INTO ${name} VALUES ($1, $2), ($3, $4)`, [7, 'a', 8, 'b']);
    assert.deepEqual([inserted.rowCount, inserted.command], [2, 'INSERT']);
    assert.equal((await client.query(`DELETE FROM ${name} WHERE id = 99`)).rowCount, 0);
  });

  test('returning', async () => {
    const name = await table();
    const { rows } = await client.query(`INSERT INTO ${name} VALUES ($1, $2) RETURNING id, upper(name) AS shout`, [9, 'n']);
    assert.deepEqual(rows, [{ id: 9, shout: 'N' }]);
  });

  test('prepared ones, by name', async () => {
    const name = await table();
    const find = { name: `find-${name}`, text: `SELECT name FROM ${name} WHERE id = $1` };
    for (const [id, wanted] of [[1, 'one'], [2, 'two'], [1, 'one']]) {
      assert.equal((await client.query({ ...find, values: [id] })).rows[0].name, wanted);
    }
  });

  test('lists as parameters', async () => {
    const name = await table();
    assert.deepEqual(await values(`SELECT id FROM ${name} WHERE id = ANY($1::int[]) ORDER BY id`, [[1, 3]]), [[1], [3]]);
    assert.deepEqual(await values(`SELECT id FROM ${name} WHERE id = ANY($1) ORDER BY id`, [[1, 3]]), [[1], [3]]);
    assert.deepEqual(await values(`SELECT id FROM ${name} WHERE name = ANY($1)`, [['two']]), [[2]]);
  });

  test('several in one text', async () => {
    const answers = await client.query(`SELECT 1 AS one; SELECT 2 AS two, 'x' AS x`);
    assert.deepEqual(answers.map(({ rows }) => rows), [[{ one: 1 }], [{ two: 2, x: 'x' }]]);
  });

  test('many at once are answered in their order', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => values('SELECT $1::integer', [n])));
    assert.deepEqual(answers.flat(2), Array.from({ length: 200 }, (_, n) => n));
  });

  test('an empty one', async () => {
    assert.deepEqual((await client.query('')).rows, []);
  });

  test('cursors by row limits', async () => {
    const cursor = client.query(new Cursor('SELECT v FROM generate_series(1, 25) AS s(v)', [], { rowMode: 'array' }));
    assert.equal((await cursor.read(10)).length, 10);
    assert.equal((await cursor.read(10)).length, 10);
    assert.deepEqual((await cursor.read(10)).flat().map(Number), [21, 22, 23, 24, 25]);
    assert.equal((await cursor.read(10)).length, 0);
    await cursor.close();
    assert.deepEqual(await values('SELECT 1'), [[1]]);
  });

  test('a cursor is closed before its end', async () => {
    const cursor = client.query(new Cursor('SELECT v FROM generate_series(1, 100000) AS s(v)'));
    assert.equal((await cursor.read(5)).length, 5);
    await cursor.close();
    assert.deepEqual(await values('SELECT 1'), [[1]]);
  });
});

describe('errors', () => {
  const wrong = [
    ['42601', 'SELEC 1'],
    ['42P01', 'SELECT * FROM nowhere'],
    ['42703', 'SELECT nmae FROM system.shards'],
    ['22012', 'SELECT 1 / 0'],
    ['22P02', `SELECT 'x'::integer`],
    ['22003', 'SELECT 70000::smallint'],
    ['42883', 'SELECT no_such_function()'],
    ['08P01', 'SELECT $1::integer', [1, 2]],
  ];
  for (const [code, statement, parameters] of wrong) {
    test(`${code}: ${statement}`, async () => {
      await fails(client.query(statement, parameters), code);
      assert.deepEqual(await values('SELECT 1'), [[1]]);
    });
  }

  test('constraints', async () => {
    const name = await table();
    await fails(client.query(`INSERT INTO ${name} VALUES (1, 'again')`), '23505');
    await fails(client.query(`INSERT INTO ${name} VALUES (NULL, 'no key')`), '23502');
  });

  test('where, and what to do', async () => {
    const error = await client.query(`SELECT 'ä', shrad_id FROM system.shards`).catch((error) => error);
    assert.equal(error.severity, 'ERROR');
    assert.equal(error.position, '13');
    assert.match(error.hint, /shard_id/);
  });

  test('a value that is none of its type', () => fails(client.query('SELECT $1::integer', ['x']), '22P02'));
});

describe('transactions', () => {
  test('commit and rollback', async () => {
    const [name, other] = [await table(), await another()];
    await other.query('BEGIN');
    await other.query(`INSERT INTO ${name} VALUES (10, 'kept')`);
    assert.deepEqual(await values(`SELECT count(*)::integer FROM ${name}`), [[3]]);
    await other.query('COMMIT');
    await other.query('BEGIN');
    await other.query(`DELETE FROM ${name}`);
    await other.query('ROLLBACK');
    assert.deepEqual(await values(`SELECT count(*)::integer FROM ${name}`), [[4]]);
  });

  test('a row that one has chosen is left out by another', async () => {
    const [name, other] = [await table(), await another()];
    const next = `SELECT id FROM ${name} WHERE id >= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED`;
    await other.query('BEGIN');
    const { rows } = await other.query(next, [1, 1]);
    assert.equal(rows.length, 1);
    const left = await values(`SELECT id FROM ${name} ORDER BY id FOR UPDATE SKIP LOCKED`);
    assert.ok(!left.flat().includes(rows[0].id));
    await other.query(`DELETE FROM ${name} WHERE id = $1`, [rows[0].id]);
    await other.query('COMMIT');
    assert.deepEqual(await values(`SELECT id FROM ${name} ORDER BY id FOR UPDATE NOWAIT`), left);
  });

  test('a failed one takes nothing but rollback', async () => {
    const other = await another();
    await other.query('BEGIN');
    await fails(other.query('SELECT 1 / 0'), '22012');
    await fails(other.query('SELECT 1'), '25P02');
    assert.equal((await other.query('COMMIT')).command, 'ROLLBACK');
  });

  test('savepoints', async () => {
    const [name, other] = [await table(), await another()];
    await other.query('BEGIN');
    await other.query(`INSERT INTO ${name} VALUES (10, 'kept')`);
    await other.query('SAVEPOINT s');
    await fails(other.query(`INSERT INTO ${name} VALUES (10, 'again')`), '23505');
    await other.query('ROLLBACK TO SAVEPOINT s');
    await other.query('RELEASE SAVEPOINT s');
    await other.query('COMMIT');
    assert.deepEqual(await values(`SELECT name FROM ${name} WHERE id = 10`), [['kept']]);
  });

  test('of two writers one is told to try again', async () => {
    const [name, one, two] = [await table(), await another(), await another()];
    for (const other of [one, two]) {
      await other.query('BEGIN');
      await other.query(`SELECT * FROM ${name}`);
    }
    await one.query(`UPDATE ${name} SET name = 'first' WHERE id = 1`);
    await one.query('COMMIT');
    const second = async () => {
      await two.query(`UPDATE ${name} SET name = 'second' WHERE id = 1`);
      await two.query('COMMIT');
    };
    await fails(second(), '40001');
    await two.query('ROLLBACK');
  });
});

describe('copying', () => {
  test('in and out', async () => {
    const name = await table();
    const into = client.query(copy.from(`COPY ${name} FROM STDIN`));
    await pipeline(Readable.from(['10\tta', 'b\\t\n11\t\\N\n']), into);
    assert.equal(into.rowCount, 2);
    const out = client.query(copy.to(`COPY (SELECT * FROM ${name} WHERE id >= 10 ORDER BY id) TO STDOUT`));
    const chunks = [];
    for await (const chunk of out) chunks.push(chunk);
    assert.equal(Buffer.concat(chunks).toString(), '10\ttab\\t\n11\t\\N\n');
  });

  test('csv', async () => {
    const name = await table();
    const into = client.query(copy.from(`COPY ${name} FROM STDIN WITH (FORMAT csv, HEADER)`));
    await pipeline(Readable.from(['id,name\n20,"a,b"\n21,\n']), into);
    assert.deepEqual(await values(`SELECT id, name FROM ${name} WHERE id >= 20 ORDER BY id`), [[20, 'a,b'], [21, null]]);
  });

  test('what fails leaves nothing', async () => {
    const name = await table();
    const into = client.query(copy.from(`COPY ${name} FROM STDIN`));
    await fails(pipeline(Readable.from(['10\tgood\nbad\tbad\n']), into), '22P02');
    assert.deepEqual(await values(`SELECT count(*)::integer FROM ${name}`), [[3]]);
  });
});

const LONG = 'SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b';

describe('cancelling and notices', () => {
  /** Waits until a statement of a session runs. */
  async function runs(backend) {
    const query = `SELECT count(*)::integer FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`;
    while ((await values(query, [backend]))[0][0] !== 1) await setImmediate();
  }

  test('a statement is cancelled', async () => {
    const busy = await another();
    const running = new pg.Query(LONG);
    const ended = once(running, 'error');
    busy.query(running);
    await runs(busy.processID);
    new pg.Client(options).cancel(busy, running);
    const [error] = await ended;
    assert.equal(error.code, '57014');
    assert.deepEqual((await busy.query('SELECT 1 AS n')).rows, [{ n: 1 }]);
  });

  test('a client that goes stops its statement', async () => {
    const busy = await connected();
    busy.on('error', () => {});
    const running = busy.query(LONG).catch(() => {});
    await runs(busy.processID);
    busy.connection.stream.destroy();
    await running;
    const query = 'SELECT count(*)::integer FROM pg_stat_activity WHERE pid = $1';
    while ((await values(query, [busy.processID]))[0][0] !== 0) await setImmediate();
  });

  test('notices come', async () => {
    const name = await table();
    const notice = once(client, 'notice');
    await client.query(`CREATE TABLE IF NOT EXISTS ${name} (id INTEGER PRIMARY KEY)`);
    const [{ severity, message }] = await notice;
    assert.deepEqual([severity, message], ['NOTICE', `table "${name}" exists already, skipping`]);
  });
});

describe('PQL', () => {
  test('pipelines take parameters', async () => {
    const name = await table();
    const query = `QUERY ${name} WHERE id >= $1 SELECT id, shout = upper(name) ORDER BY id LIMIT $2`;
    assert.deepEqual(await values(query, [2, 5]), [[2, 'TWO'], [3, null]]);
  });

  test('system tables', async () => {
    const found = await values('QUERY SYSTEM.SHARDS SELECT shard_id ORDER BY shard_id');
    assert.deepEqual(found.flat().map(Number), [1, 2, 3, 4]);
  });

  test('statements about shards', async () => {
    const name = await table();
    const plan = await client.query('EXPLAIN REBALANCE SHARDS');
    assert.deepEqual(plan.fields.map((field) => field.name), ['item', 'what', 'why', 'hint']);
    const { rows } = await client.query(`LOCATE ${name} KEY ($1)`, [1]);
    assert.match(rows[0].token, /^[0-9a-f]{16}$/);
  });

  test('a job is begun and waited for', async () => {
    const { rows } = await client.query('MOVE SLOTS 0 TO 4 FROM SHARD 1 TO SHARD 2');
    await client.query(`WAIT FOR JOB LAST TIMEOUT '60s'`);
    const state = await values('QUERY SYSTEM.JOBS WHERE job_id = $1 SELECT state', [rows[0].job_id]);
    assert.deepEqual(state, [['done']]);
    await client.query(`REBALANCE SHARDS WITH strategy = 'uniform'`);
    await client.query(`WAIT FOR JOB ALL TIMEOUT '60s'`);
  });
});
