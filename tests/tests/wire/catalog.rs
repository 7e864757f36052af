//! What clients ask of the system catalogs, word by word as they ask it, and what they are answered.
//!
//! The queries of `\\d` and its kin are those that psql 15 shows with `-E`; SQLAlchemy's are those of 2.0, DBeaver's and
//! the JDBC driver's those of their sources.

use crate::ground::{Ground, rows, state};
use tokio_postgres::Client;

async fn ground() -> (Ground, Client) {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let tables = "CREATE TABLE carriers (code text PRIMARY KEY, name varchar(40) NOT NULL);
        CREATE TABLE flights (id bigint, day date NOT NULL, carrier text DEFAULT 'XX', delay double precision,
            price decimal(10,2) CONSTRAINT dear CHECK (price > 0), PRIMARY KEY (id, day));
        CREATE TABLE notes (body text, tags text[]);
        CREATE VIEW late AS SELECT id, delay FROM flights WHERE delay > 10;
        INSERT INTO flights VALUES (1, '2026-01-01', 'AA', 1.5, 2.5)";
    for statement in tables.split(';') {
        client.batch_execute(statement).await.expect(statement);
    }
    (ground, client)
}

/// The oid that psql asks for first of all.
async fn oid(client: &Client, table: &str) -> String {
    let query = FIND.replace("{table}", table);
    let found = rows(client, &query).await;
    let [row] = found.as_slice() else { panic!("{table}: {found:?}") };
    row.split('|').next().expect("an oid").to_string()
}

/// `\d table`, first.
const FIND: &str = r#"SELECT c.oid,
  n.nspname,
  c.relname
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^({table})$' COLLATE pg_catalog.default
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 2, 3"#;

/// `\d table`, then.
const RELATION: &str = r#"SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
FROM pg_catalog.pg_class c
 LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid)
LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid)
WHERE c.oid = '{oid}'"#;

const COLUMNS: &str = r#"SELECT a.attname,
  pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)
   FROM pg_catalog.pg_attrdef d
   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull,
  (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
   WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
  a.attidentity,
  a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '{oid}' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"#;

const INDEXES: &str = r#"SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true),
  pg_catalog.pg_get_constraintdef(con.oid, true), contype, condeferrable, condeferred, i.indisreplident, c2.reltablespace
FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
WHERE c.oid = '{oid}' AND c.oid = i.indrelid AND i.indexrelid = c2.oid
ORDER BY i.indisprimary DESC, c2.relname"#;

const CHECKS: &str = r#"SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true)
FROM pg_catalog.pg_constraint r
WHERE r.conrelid = '{oid}' AND r.contype = 'c'
ORDER BY 1"#;

const POLICIES: &str = r#"SELECT pol.polname, pol.polpermissive,
  CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) order by 1),',') END,
  pg_catalog.pg_get_expr(pol.polqual, pol.polrelid),
  pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid),
  CASE pol.polcmd
    WHEN 'r' THEN 'SELECT'
    WHEN 'a' THEN 'INSERT'
    WHEN 'w' THEN 'UPDATE'
    WHEN 'd' THEN 'DELETE'
    END AS cmd
FROM pg_catalog.pg_policy pol
WHERE pol.polrelid = '{oid}' ORDER BY 1"#;

const STATISTICS: &str = r#"SELECT oid, stxrelid::pg_catalog.regclass, stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, stxname,
pg_catalog.pg_get_statisticsobjdef_columns(oid) AS columns,
  'd' = any(stxkind) AS ndist_enabled,
  'f' = any(stxkind) AS deps_enabled,
  'm' = any(stxkind) AS mcv_enabled,
stxstattarget
FROM pg_catalog.pg_statistic_ext
WHERE stxrelid = '{oid}'
ORDER BY nsp, stxname"#;

const PUBLICATIONS: &str = r#"SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid
     JOIN pg_catalog.pg_class pc ON pc.relnamespace = pn.pnnspid
WHERE pc.oid ='{oid}' and pg_catalog.pg_relation_is_publishable('{oid}')
UNION
SELECT pubname
     , pg_get_expr(pr.prqual, c.oid)
     , (CASE WHEN pr.prattrs IS NOT NULL THEN
         (SELECT string_agg(attname, ', ')
           FROM pg_catalog.generate_series(0, pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s,
                pg_catalog.pg_attribute
          WHERE attrelid = pr.prrelid AND attnum = prattrs[s])
        ELSE NULL END) FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid
     JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid
WHERE pr.prrelid = '{oid}'
UNION
SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
WHERE p.puballtables AND pg_catalog.pg_relation_is_publishable('{oid}')
ORDER BY 1"#;

const PARENTS: &str = r#"SELECT c.oid::pg_catalog.regclass
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhparent AND i.inhrelid = '{oid}'
  AND c.relkind != 'p' AND c.relkind != 'I'
ORDER BY inhseqno"#;

const CHILDREN: &str = r#"SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, pg_catalog.pg_get_expr(c.relpartbound, c.oid)
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhrelid AND i.inhparent = '{oid}'
ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text"#;

/// `\d`
const ALL: &str = r#"SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r','p','v','m','S','f','')
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2"#;

/// `\dt`
const TABLES: &str = r#"SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r','p','')
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2"#;

/// `\dv`
const VIEWS: &str = r#"SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v','')
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2"#;

/// `\dn`
const SCHEMAS: &str = r#"SELECT n.nspname AS "Name",
  pg_catalog.pg_get_userbyid(n.nspowner) AS "Owner"
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1"#;

/// `\df`
const FUNCTIONS: &str = r#"SELECT n.nspname as "Schema",
  p.proname as "Name",
  pg_catalog.pg_get_function_result(p.oid) as "Result data type",
  pg_catalog.pg_get_function_arguments(p.oid) as "Argument data types",
 CASE p.prokind
  WHEN 'a' THEN 'agg'
  WHEN 'w' THEN 'window'
  WHEN 'p' THEN 'proc'
  ELSE 'func'
 END as "Type"
FROM pg_catalog.pg_proc p
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE pg_catalog.pg_function_is_visible(p.oid)
      AND n.nspname <> 'pg_catalog'
      AND n.nspname <> 'information_schema'
ORDER BY 1, 2, 4"#;

/// `\l`
const DATABASES: &str = r#"SELECT d.datname as "Name",
       pg_catalog.pg_get_userbyid(d.datdba) as "Owner",
       pg_catalog.pg_encoding_to_char(d.encoding) as "Encoding",
       d.datcollate as "Collate",
       d.datctype as "Ctype",
       d.daticulocale as "ICU Locale",
       CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END AS "Locale Provider",
       pg_catalog.array_to_string(d.datacl, E'\n') AS "Access privileges"
FROM pg_catalog.pg_database d
ORDER BY 1"#;

/// `\du`
const ROLES: &str = r#"SELECT r.rolname, r.rolsuper, r.rolinherit,
  r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolconnlimit, r.rolvaliduntil,
  ARRAY(SELECT b.rolname
        FROM pg_catalog.pg_auth_members m
        JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid)
        WHERE m.member = r.oid) as memberof
, r.rolreplication
, r.rolbypassrls
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_'
ORDER BY 1"#;

/// `\d+ view`, of it
const DEFINITION: &str = r#"SELECT pg_catalog.pg_get_viewdef('{oid}'::pg_catalog.oid, true)"#;

const RULES: &str = r#"SELECT r.rulename, trim(trailing ';' from pg_catalog.pg_get_ruledef(r.oid, true))
FROM pg_catalog.pg_rewrite r
WHERE r.ev_class = '{oid}' AND r.rulename != '_RETURN' ORDER BY 1"#;

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_what_there_is() {
    let (ground, client) = ground().await;
    let tables = ["public|carriers|table|evenkeel", "public|flights|table|evenkeel"];
    let (late, notes) = ("public|late|view|evenkeel", "public|notes|table|evenkeel");
    assert_eq!(rows(&client, ALL).await, [tables[0], tables[1], late, notes]);
    assert_eq!(rows(&client, TABLES).await, [tables[0], tables[1], notes]);
    assert_eq!(rows(&client, VIEWS).await, [late]);
    assert_eq!(rows(&client, SCHEMAS).await, ["public|evenkeel", "system|evenkeel"]);
    assert_eq!(rows(&client, FUNCTIONS).await, [""; 0]);
    assert_eq!(rows(&client, DATABASES).await, ["evenkeel|evenkeel|UTF8|C|C|NULL|libc|NULL"]);
    assert_eq!(rows(&client, ROLES).await, ["evenkeel|t|t|t|f|f|-1|NULL|{}|f|t"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_a_table() {
    let (ground, client) = ground().await;
    let oid = oid(&client, "flights").await;
    let ask = async |query: &str| rows(&client, &query.replace("{oid}", &oid)).await;
    assert_eq!(ask(RELATION).await, ["1|r|t|f|f|f|f|f|f||0||p|d|heap"]);
    let columns = [
        "id|bigint|NULL|t|NULL||",
        "day|date|NULL|t|NULL||",
        "carrier|text|'XX'|f|NULL||",
        "delay|double precision|NULL|f|NULL||",
        "price|numeric(10,2)|NULL|f|NULL||",
    ];
    assert_eq!(ask(COLUMNS).await, columns);
    let index = "CREATE UNIQUE INDEX flights_pkey ON public.flights USING btree (id, day)";
    let index = format!("flights_pkey|t|t|f|t|{index}|PRIMARY KEY (id, day)|p|f|f|f|0");
    assert_eq!(ask(INDEXES).await, [index]);
    assert_eq!(ask(CHECKS).await, ["dear|CHECK (price > 0)"]);
    for query in [POLICIES, STATISTICS, PUBLICATIONS, PARENTS, CHILDREN] {
        assert_eq!(ask(query).await, [""; 0], "{query}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_views_and_computed_tables() {
    let (ground, client) = ground().await;
    let late = oid(&client, "late").await;
    let ask = async |query: &str| rows(&client, &query.replace("{oid}", &late)).await;
    assert_eq!(ask(RELATION).await, ["0|v|f|t|f|f|f|f|f||0||p|n|NULL"]);
    assert_eq!(ask(COLUMNS).await, ["id|bigint|NULL|f|NULL||", "delay|double precision|NULL|f|NULL||"]);
    assert_eq!(ask(DEFINITION).await, [" SELECT id, delay FROM flights WHERE delay > 10;"]);
    assert_eq!(ask(RULES).await, [""; 0]);
    let notes = oid(&client, "notes").await;
    assert_eq!(rows(&client, &INDEXES.replace("{oid}", &notes)).await, [""; 0]);
    let columns = rows(&client, &COLUMNS.replace("{oid}", &notes)).await;
    assert_eq!(columns, ["body|text|NULL|f|NULL||", "tags|text[]|NULL|f|NULL||"]);
    // Types join with what they are the types of.
    let class = oid(&client, "pg_class").await;
    assert_eq!(rows(&client, &COLUMNS.replace("{oid}", &class)).await[0], "oid|bigint|NULL|t|NULL||");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_numbers_and_numbers_names() {
    let (ground, client) = ground().await;
    let one = async |query: &str| rows(&client, query).await.join(" ");
    assert_eq!(
        one("SELECT 'flights'::regclass, 23::regtype, 'int4'::regtype, 'public'::regnamespace").await,
        "flights|integer|integer|public"
    );
    let name = "SELECT relname FROM pg_class WHERE oid = 'public.flights'::regclass";
    assert_eq!(one(name).await, "flights");
    assert_eq!(
        one("SELECT attname FROM pg_attribute WHERE attrelid = 'carriers'::regclass::oid ORDER BY attnum").await,
        "code name"
    );
    assert_eq!(one("SELECT to_regclass('nowhere'), to_regclass('late') IS NOT NULL").await, "NULL|t");
    assert_eq!(state(&client, "SELECT 'nowhere'::regclass").await, "42P01");
    assert_eq!(one("SELECT typname FROM pg_type WHERE oid = ANY('{16,1007}'::oid[]) ORDER BY oid").await, "bool _int4");
    assert_eq!(one("SELECT relname FROM pg_class WHERE relkind = ANY('{v}') AND relnamespace = 2200").await, "late");
    assert_eq!(
        one("SELECT pg_backend_pid() = pid, usename FROM pg_stat_activity WHERE state = 'active'").await,
        "t|evenkeel"
    );
    assert_eq!(one("SELECT version() LIKE 'PostgreSQL 15.0 (Evenkeel %)'").await, "t");
    assert_eq!(one("SHOW server_version_num").await, "150000");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_one_s_own_goes_before_the_catalogs() {
    let (ground, client) = ground().await;
    client.batch_execute("CREATE TABLE pg_am (mine text PRIMARY KEY)").await.expect("made");
    client.batch_execute("INSERT INTO pg_am VALUES ('own')").await.expect("filled");
    assert_eq!(rows(&client, "SELECT * FROM pg_am").await, ["own"]);
    assert_eq!(rows(&client, "SELECT amname FROM pg_catalog.pg_am ORDER BY oid").await, ["heap", "btree"]);
    client.batch_execute("DROP TABLE pg_am").await.expect("dropped");
    assert_eq!(rows(&client, "SELECT amname FROM pg_am ORDER BY oid").await, ["heap", "btree"]);
    assert_eq!(state(&client, "DELETE FROM pg_catalog.pg_am").await, "25006");
    assert_eq!(state(&client, "CREATE TABLE pg_catalog.t (a integer)").await, "25006");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_find_what_concerns_them() {
    let (ground, client) = ground().await;
    for user in ["ada", "bob"] {
        client.batch_execute(&format!("CREATE USER {user} PASSWORD 'secret'")).await.expect("made");
    }
    client.batch_execute("GRANT SELECT ON flights TO ada").await.expect("granted");
    let (ada, connection) = ground.config().user("ada").connect(tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    assert_eq!(rows(&ada, ALL).await, ["public|flights|table|evenkeel"]);
    assert_eq!(rows(&ada, "SELECT usename FROM pg_user").await, ["ada"]);
    assert_eq!(rows(&ada, "SELECT DISTINCT usename FROM pg_stat_activity").await, ["ada"]);
    for hidden in [
        "SELECT oid FROM pg_class WHERE relname IN ('notes', 'late', 'carriers', 'carriers_pkey')",
        "SELECT attname FROM pg_attribute WHERE attname IN ('tags', 'code')",
        "SELECT conname FROM pg_constraint WHERE conname = 'carriers_pkey'",
        "SELECT viewname FROM pg_views",
        "SELECT tablename FROM pg_tables WHERE tablename = 'notes'",
        "SELECT typname FROM pg_type WHERE typname = 'notes'",
        "SELECT indexname FROM pg_indexes WHERE tablename = 'carriers'",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'notes'",
        "SELECT rolname FROM pg_roles WHERE rolname = 'bob'",
    ] {
        assert_eq!(rows(&ada, hidden).await, [""; 0], "{hidden}");
    }
    assert_eq!(rows(&ada, "SELECT to_regclass('notes'), pg_relation_size('flights') > 0").await, ["NULL|t"]);
    assert_eq!(state(&ada, "SELECT pg_relation_size('notes')").await, "42P01");
    let may = "SELECT has_table_privilege('flights', 'SELECT'), has_table_privilege('flights', 'INSERT, DELETE')";
    assert_eq!(rows(&ada, may).await, ["t|f"]);
    assert_eq!(rows(&client, "SELECT has_table_privilege('ada', 'flights', 'SELECT')").await, ["t"]);
    assert_eq!(rows(&client, "SELECT has_table_privilege('bob', 'flights', 'SELECT')").await, ["f"]);
    ground.end().await;
}

const DBEAVER_SCHEMAS: &str = r#"SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON
d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname"#;

const DBEAVER_KEYWORDS: &str =
    r#"select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word not in ('a','abs')"#;

const DBEAVER_TYPES: &str = r#"SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM
pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_class c
ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE t.typname IS NOT NULL AND
(c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')"#;

const DBEAVER_TABLES: &str = r#"SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,
pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN
pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass WHERE
c.relnamespace=2200 AND c.relkind not in ('i','I','c')"#;

const DBEAVER_CONSTRAINTS: &str = r#"SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description, case when c.contype='c' then
"substring"(pg_get_constraintdef(c.oid), 7) else null end consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN
pg_catalog.pg_class t ON t.oid=c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid LEFT OUTER
JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass WHERE
t.relname='flights' ORDER BY c.oid"#;

const JDBC_KEYS: &str = r#"SELECT result.TABLE_CAT, result.TABLE_SCHEM, result.TABLE_NAME, result.COLUMN_NAME, result.KEY_SEQ, result.PK_NAME
FROM (SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, ct.relname AS TABLE_NAME, a.attname AS COLUMN_NAME,
(information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, ci.relname AS PK_NAME,
information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM FROM pg_catalog.pg_class ct JOIN
pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid) JOIN
pg_catalog.pg_index i ON ( a.attrelid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE
true AND ct.relname = 'flights' AND i.indisprimary ) result where result.A_ATTNUM = (result.KEYS).x ORDER BY
result.table_name, result.pk_name, result.key_seq"#;

const JDBC_COLUMNS: &str = r#"SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS
attnotnull,a.atttypmod,a.attlen,t.typtypmod,row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum,
nullif(a.attidentity, '') as attidentity,nullif(a.attgenerated, '') as
attgenerated,pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc,dsc.description,t.typbasetype,t.typtype FROM
pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON
(a.attrelid=c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON
(a.attrelid=def.adrelid AND a.attnum = def.adnum) LEFT JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND
a.attnum = dsc.objsubid) LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class') LEFT
JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND dn.nspname='pg_catalog') WHERE c.relkind in
('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'public' AND c.relname LIKE
'flights') c WHERE true AND attname LIKE '%' ORDER BY nspname,c.relname,attnum"#;

const JDBC_TABLES: &str = r#"SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname =
'information_schema' WHEN true THEN CASE WHEN n.nspname = 'pg_catalog' OR n.nspname = 'information_schema' THEN CASE
c.relkind WHEN 'r' THEN 'SYSTEM TABLE' WHEN 'v' THEN 'SYSTEM VIEW' WHEN 'i' THEN 'SYSTEM INDEX' ELSE NULL END WHEN
n.nspname = 'pg_toast' THEN CASE c.relkind WHEN 'r' THEN 'SYSTEM TOAST TABLE' WHEN 'i' THEN 'SYSTEM TOAST INDEX'
ELSE NULL END ELSE CASE c.relkind WHEN 'r' THEN 'TEMPORARY TABLE' WHEN 'p' THEN 'TEMPORARY TABLE' WHEN 'i' THEN
'TEMPORARY INDEX' WHEN 'S' THEN 'TEMPORARY SEQUENCE' WHEN 'v' THEN 'TEMPORARY VIEW' ELSE NULL END END WHEN false
THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'i' THEN 'INDEX' WHEN 'P' THEN
'PARTITIONED INDEX' WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'c' THEN 'TYPE' WHEN 'f' THEN 'FOREIGN TABLE'
WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END ELSE NULL END AS TABLE_TYPE, d.description AS REMARKS, '' as
TYPE_CAT, '' as TYPE_SCHEM, '' as TYPE_NAME, '' AS SELF_REFERENCING_COL_NAME, '' AS REF_GENERATION FROM
pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND
d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND n.nspname LIKE 'public' AND
(false OR ( c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ) ) ORDER BY
TABLE_TYPE,TABLE_SCHEM,TABLE_NAME"#;

const METABASE_RIGHTS: &str = r#"with table_privileges as (select NULL as role, t.schemaname as schema, t.objectname as table,
pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"',
'update') as update, pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' ||
t.objectname || '"', 'select') as select from (select schemaname, tablename as objectname from pg_catalog.pg_tables
union select schemaname, viewname as objectname from pg_catalog.pg_views union select schemaname, matviewname as
objectname from pg_catalog.pg_matviews) t where t.schemaname !~ '^pg_' and t.schemaname <> 'information_schema' and
pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')) select t.* from table_privileges t"#;

const METABASE_TABLES: &str = r#"SELECT n.nspname AS schema, c.relname AS name, CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED
TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END AS type,
d.description AS description, NULLIF(stat.n_live_tup, 0) AS estimated_row_count FROM pg_catalog.pg_class AS c INNER
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid LEFT JOIN pg_catalog.pg_description AS d ON ((c.oid =
d.objoid) AND (d.objsubid = 0)) AND (d.classoid = 'pg_class'::regclass) LEFT JOIN pg_stat_user_tables AS stat ON
(n.nspname = stat.schemaname) AND (c.relname = stat.relname) WHERE ((c.relnamespace = n.oid) AND (n.nspname !~
'^pg_') AND (n.nspname <> 'information_schema')) AND c.relkind IN ('r', 'p', 'v', 'f', 'm') ORDER BY type ASC,
schema ASC, name ASC"#;

const METABASE_COLUMNS: &str = r#"SELECT "c"."column_name" AS "name", "c"."udt_name" AS "database-type", "c"."ordinal_position" - 1 AS
"database-position", "c"."table_schema" AS "table-schema", "c"."table_name" AS "table-name", "pk"."column_name" IS
NOT NULL AS "pk?", COL_DESCRIPTION(CAST(CAST(FORMAT('%I.%I', CAST("c"."table_schema" AS TEXT), CAST("c"."table_name"
AS TEXT)) AS REGCLASS) AS OID), "c"."ordinal_position") AS "field-comment", (("column_default" IS NULL) OR
(LOWER("column_default") = 'null')) AND ("is_nullable" = 'NO') AND NOT ((("column_default" IS NOT NULL) AND
("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO')) AS "database-required", (("column_default" IS NOT
NULL) AND ("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO') AS "database-is-auto-increment" FROM
"information_schema"."columns" AS "c" LEFT JOIN (SELECT "tc"."table_schema", "tc"."table_name", "kc"."column_name"
FROM "information_schema"."table_constraints" AS "tc" INNER JOIN "information_schema"."key_column_usage" AS "kc" ON
("tc"."constraint_name" = "kc"."constraint_name") AND ("tc"."table_schema" = "kc"."table_schema") AND
("tc"."table_name" = "kc"."table_name") WHERE "tc"."constraint_type" = 'PRIMARY KEY') AS "pk" ON ("c"."table_schema"
= "pk"."table_schema") AND ("c"."table_name" = "pk"."table_name") AND ("c"."column_name" = "pk"."column_name") WHERE
c.table_schema !~ '^information_schema|catalog_history|pg_' AND ("c"."table_schema" IN ('public')) ORDER BY
"table-schema" ASC, "table-name" ASC, "database-position" ASC"#;

/// SQLAlchemy's `get_columns`.
const ALCHEMY_COLUMNS: &str = r#"SELECT pg_catalog.pg_attribute.attname AS name, pg_catalog.format_type(pg_catalog.pg_attribute.atttypid,
pg_catalog.pg_attribute.atttypmod) AS format_type, CASE WHEN pg_catalog.pg_attribute.atthasdef THEN (SELECT
pg_catalog.pg_get_expr(pg_catalog.pg_attrdef.adbin, pg_catalog.pg_attrdef.adrelid) AS pg_get_expr_1 FROM
pg_catalog.pg_attrdef WHERE pg_catalog.pg_attribute.atthasdef AND pg_catalog.pg_attrdef.adrelid =
pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attrdef.adnum = pg_catalog.pg_attribute.attnum) ELSE NULL END AS
"default", pg_catalog.pg_attribute.attnotnull AS not_null, pg_catalog.pg_class.relname AS table_name,
pg_catalog.pg_description.description AS comment, pg_catalog.pg_attribute.attgenerated AS generated, CASE WHEN
(pg_catalog.pg_attribute.attidentity != $1::VARCHAR) THEN (SELECT json_build_object($2::VARCHAR,
pg_catalog.pg_attribute.attidentity = $3::VARCHAR, $4::VARCHAR, pg_catalog.pg_sequence.seqstart, $5::VARCHAR,
pg_catalog.pg_sequence.seqincrement, $6::VARCHAR, pg_catalog.pg_sequence.seqmin, $7::VARCHAR,
pg_catalog.pg_sequence.seqmax, $8::VARCHAR, pg_catalog.pg_sequence.seqcache, $9::VARCHAR,
pg_catalog.pg_sequence.seqcycle) AS json_build_object_1 FROM pg_catalog.pg_sequence WHERE
pg_catalog.pg_attribute.attidentity != $10::VARCHAR AND pg_catalog.pg_sequence.seqrelid =
CAST(CAST(pg_catalog.pg_get_serial_sequence(CAST(CAST(pg_catalog.pg_attribute.attrelid AS REGCLASS) AS TEXT),
pg_catalog.pg_attribute.attname) AS REGCLASS) AS OID)) ELSE NULL END AS identity_options, CASE WHEN
(pg_catalog.pg_attribute.attcollation != $11::INTEGER AND (SELECT pg_catalog.pg_type.typcollation FROM
pg_catalog.pg_type WHERE pg_catalog.pg_type.oid = pg_catalog.pg_attribute.atttypid) !=
pg_catalog.pg_attribute.attcollation) THEN (SELECT json_build_object($12::VARCHAR, pg_catalog.pg_collation.collname,
$13::VARCHAR, CASE WHEN pg_catalog.pg_collation_is_visible(pg_catalog.pg_collation.oid) THEN NULL ELSE
pg_catalog.pg_namespace.nspname END) AS json_build_object_9 FROM pg_catalog.pg_collation JOIN
pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_collation.collnamespace WHERE
pg_catalog.pg_collation.oid = pg_catalog.pg_attribute.attcollation) ELSE NULL END AS collation FROM
pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_attribute ON pg_catalog.pg_class.oid =
pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attribute.attnum > $14::SMALLINT AND NOT
pg_catalog.pg_attribute.attisdropped LEFT OUTER JOIN pg_catalog.pg_description ON pg_catalog.pg_description.objoid =
pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_description.objsubid = pg_catalog.pg_attribute.attnum JOIN
pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE
pg_catalog.pg_class.relkind = ANY (ARRAY[$15::VARCHAR, $16::VARCHAR, $17::VARCHAR, $18::VARCHAR, $19::VARCHAR]) AND
pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != $20::VARCHAR AND
pg_catalog.pg_class.relname IN ($21::VARCHAR) ORDER BY pg_catalog.pg_class.relname, pg_catalog.pg_attribute.attnum"#;

/// SQLAlchemy's `get_pk_constraint`.
const ALCHEMY_KEYS: &str = r#"SELECT attr.conrelid, array_agg(CAST(attr.attname AS TEXT) ORDER BY attr.ord) AS cols, attr.conname,
min(attr.description) AS description, min(attr.indnkeyatts) AS indnkeyatts, bool_and(attr.indnullsnotdistinct) AS
indnullsnotdistinct FROM (SELECT con.conrelid AS conrelid, con.conname AS conname, con.description AS description,
con.ord AS ord, con.indnkeyatts AS indnkeyatts, con.indnullsnotdistinct AS indnullsnotdistinct,
pg_catalog.pg_attribute.attname AS attname FROM pg_catalog.pg_attribute JOIN (SELECT
pg_catalog.pg_constraint.conrelid AS conrelid, pg_catalog.pg_constraint.conname AS conname,
unnest(pg_catalog.pg_index.indkey) AS attnum, generate_subscripts(pg_catalog.pg_index.indkey, $1::INTEGER) AS ord,
pg_catalog.pg_index.indnkeyatts AS indnkeyatts, pg_catalog.pg_index.indnullsnotdistinct AS indnullsnotdistinct,
pg_catalog.pg_description.description AS description FROM pg_catalog.pg_constraint JOIN pg_catalog.pg_index ON
pg_catalog.pg_constraint.conindid = pg_catalog.pg_index.indexrelid LEFT OUTER JOIN pg_catalog.pg_description ON
pg_catalog.pg_description.objoid = pg_catalog.pg_constraint.oid AND pg_catalog.pg_description.classoid = CAST($2 AS
REGCLASS) WHERE pg_catalog.pg_constraint.contype = $3::VARCHAR AND pg_catalog.pg_constraint.conrelid IN ($4)) AS con
ON pg_catalog.pg_attribute.attnum = con.attnum AND pg_catalog.pg_attribute.attrelid = con.conrelid WHERE
con.conrelid IN ($4)) AS attr GROUP BY attr.conrelid, attr.conname ORDER BY attr.conrelid, attr.conname"#;

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_reflects() {
    let (ground, client) = ground().await;
    let values = [
        "",
        "always",
        "a",
        "start",
        "increment",
        "minvalue",
        "maxvalue",
        "cache",
        "cycle",
        "",
        "0",
        "name",
        "schema",
        "0",
        "r",
        "p",
        "f",
        "v",
        "m",
        "pg_catalog",
        "flights",
    ];
    // As a client that leaves types to the server, but for those that stand in casts, which are filled in as text.
    let mut query = ALCHEMY_COLUMNS.to_string();
    for (at, value) in values.iter().enumerate().rev() {
        query = query.replace(&format!("${}", at + 1), &format!("'{value}'"));
    }
    let columns = rows(&client, &query).await;
    assert_eq!(columns[0], "id|bigint|NULL|t|flights|NULL||NULL|NULL");
    assert_eq!(columns[2], "carrier|text|'XX'|f|flights|NULL||NULL|NULL");
    assert_eq!(columns.len(), 5);
    let oid = oid(&client, "flights").await;
    let mut query = ALCHEMY_KEYS.to_string();
    for (at, value) in ["1", "pg_constraint", "p", oid.as_str()].iter().enumerate() {
        query = query.replace(&format!("${}", at + 1), &format!("'{value}'"));
    }
    assert_eq!(rows(&client, &query).await, [format!("{oid}|{{id,day}}|flights_pkey|NULL|2|f")]);
    let schemas = "SELECT nspname FROM pg_catalog.pg_namespace WHERE (nspname NOT LIKE 'pg/_'::VARCHAR || '%' ESCAPE '/') \
                   ORDER BY nspname";
    assert_eq!(rows(&client, schemas).await, ["information_schema", "public", "system"]);
    // A parameter whose type nobody says is what it is compared with: a list, here.
    let statement =
        client.prepare("SELECT relname FROM pg_catalog.pg_class WHERE relkind = ANY($1) AND relnamespace = 2200");
    let found = client.query(&statement.await.expect("prepared"), &[&vec!["v", "m"]]).await.expect("a view");
    assert_eq!(found[0].get::<_, &str>(0), "late");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_finds_tables_columns_and_keys() {
    let (ground, client) = ground().await;
    let tables = rows(&client, JDBC_TABLES).await;
    assert_eq!(tables, ["carriers", "flights", "notes"].map(|name| format!("NULL|public|{name}|TABLE|NULL|||||")));
    let columns = rows(&client, JDBC_COLUMNS).await;
    assert_eq!(columns[0], "public|flights|id|20|t|-1|8|-1|1|NULL|NULL|NULL|NULL|0|b");
    assert_eq!(columns[4], "public|flights|price|1700|f|655366|-1|-1|5|NULL|NULL|NULL|NULL|0|b");
    let keys = rows(&client, JDBC_KEYS).await;
    assert_eq!(keys, ["NULL|public|flights|id|1|flights_pkey", "NULL|public|flights|day|2|flights_pkey"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dbeaver_and_metabase_open() {
    let (ground, client) = ground().await;
    let first = |rows: Vec<String>, at: usize| -> Vec<String> {
        rows.iter().map(|row| row.split('|').nth(at).unwrap_or_default().to_string()).collect()
    };
    let schemas = first(rows(&client, DBEAVER_SCHEMAS).await, 2);
    assert_eq!(schemas, ["information_schema", "pg_catalog", "public", "system"]);
    let mut tables = first(rows(&client, DBEAVER_TABLES).await, 2);
    tables.sort();
    assert_eq!(tables, ["carriers", "flights", "late", "notes"]);
    let mut constraints = first(rows(&client, DBEAVER_CONSTRAINTS).await, 2);
    constraints.sort();
    assert_eq!(constraints, ["dear", "flights_pkey"]);
    assert!(first(rows(&client, DBEAVER_TYPES).await, 2).contains(&"timestamptz".to_string()));
    assert_eq!(rows(&client, DBEAVER_KEYWORDS).await, ["NULL"]);
    let mut rights = rows(&client, METABASE_RIGHTS).await;
    rights.retain(|row| row.starts_with("NULL|public|"));
    rights.sort();
    assert_eq!(rights, ["carriers", "flights", "late", "notes"].map(|name| format!("NULL|public|{name}|t|t")));
    let tables = rows(&client, METABASE_TABLES).await;
    assert!(tables.contains(&"public|flights|TABLE|NULL|1".to_string()), "{tables:?}");
    let columns = rows(&client, METABASE_COLUMNS).await;
    assert_eq!(columns[0], "code|text|0|public|carriers|t|NULL|t|f");
    ground.end().await;
}
