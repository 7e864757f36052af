//! The catalogs of what there is nothing of: clients join them, and find no rows.

macro_rules! empty {
    ($module:ident, $name:literal, #[doc = $doc:literal] { $($column:ident: $type:ty,)* }) => {
        pub(super) mod $module {
            computed_table! { crate::PG_CATALOG, $name,
                #[doc = $doc]
                struct Row { $($column: $type,)* }
            }

            fn rows(_: &crate::Snapshot) -> Vec<Row> {
                vec![]
            }
        }
    };
}

empty! { pg_aggregate, "pg_aggregate", #[doc = "Aggregate functions that users made."] {
    aggfnoid: i64,
    aggkind: Option<String>,
    aggnumdirectargs: i16,
    aggtransfn: Option<String>,
    aggfinalfn: Option<String>,
    aggsortop: i64,
    aggtranstype: i64,
} }

empty! { pg_auth_members, "pg_auth_members", #[doc = "Which roles are members of which."] {
    roleid: i64,
    member: i64,
    grantor: i64,
    admin_option: bool,
} }

empty! { pg_cast, "pg_cast", #[doc = "Casts that users made."] {
    oid: i64,
    castsource: i64,
    casttarget: i64,
    castfunc: i64,
    castcontext: Option<String>,
    castmethod: Option<String>,
} }

empty! { pg_conversion, "pg_conversion", #[doc = "Conversions of encodings."] {
    oid: i64,
    conname: Option<String>,
    connamespace: i64,
    conowner: i64,
    conforencoding: i32,
    contoencoding: i32,
    conproc: Option<String>,
    condefault: bool,
} }

empty! { pg_db_role_setting, "pg_db_role_setting", #[doc = "Settings of users."] {
    setdatabase: i64,
    setrole: i64,
    setconfig: Option<Vec<String>>,
} }

empty! { pg_default_acl, "pg_default_acl", #[doc = "Rights on what will be made."] {
    oid: i64,
    defaclrole: i64,
    defaclnamespace: i64,
    defaclobjtype: Option<String>,
    defaclacl: Option<Vec<String>>,
} }

empty! { pg_depend, "pg_depend", #[doc = "What depends on what."] {
    classid: i64,
    objid: i64,
    objsubid: i32,
    refclassid: i64,
    refobjid: i64,
    refobjsubid: i32,
    deptype: Option<String>,
} }

empty! { pg_description, "pg_description", #[doc = "Comments."] {
    objoid: i64,
    classoid: i64,
    objsubid: i32,
    description: Option<String>,
} }

empty! { pg_enum, "pg_enum", #[doc = "Values of enum types."] {
    oid: i64,
    enumtypid: i64,
    enumsortorder: f64,
    enumlabel: Option<String>,
} }

empty! { pg_event_trigger, "pg_event_trigger", #[doc = "Event triggers."] {
    oid: i64,
    evtname: Option<String>,
    evtevent: Option<String>,
    evtowner: i64,
    evtfoid: i64,
    evtenabled: Option<String>,
    evttags: Option<Vec<String>>,
} }

empty! { pg_extension, "pg_extension", #[doc = "Extensions."] {
    oid: i64,
    extname: Option<String>,
    extowner: i64,
    extnamespace: i64,
    extrelocatable: bool,
    extversion: Option<String>,
    extconfig: Option<Vec<i64>>,
    extcondition: Option<Vec<String>>,
} }

empty! { pg_foreign_data_wrapper, "pg_foreign_data_wrapper", #[doc = "Foreign-data wrappers."] {
    oid: i64,
    fdwname: Option<String>,
    fdwowner: i64,
    fdwhandler: i64,
    fdwvalidator: i64,
    fdwacl: Option<Vec<String>>,
    fdwoptions: Option<Vec<String>>,
} }

empty! { pg_foreign_server, "pg_foreign_server", #[doc = "Foreign servers."] {
    oid: i64,
    srvname: Option<String>,
    srvowner: i64,
    srvfdw: i64,
    srvtype: Option<String>,
    srvversion: Option<String>,
    srvacl: Option<Vec<String>>,
    srvoptions: Option<Vec<String>>,
} }

empty! { pg_foreign_table, "pg_foreign_table", #[doc = "Foreign tables."] {
    ftrelid: i64,
    ftserver: i64,
    ftoptions: Option<Vec<String>>,
} }

empty! { pg_get_keywords, "pg_get_keywords", #[doc = "Keywords that PostgreSQL has beyond those of the standard."] {
    word: String,
    catcode: String,
    barelabel: bool,
    catdesc: String,
    baredesc: String,
} }

empty! { pg_inherits, "pg_inherits", #[doc = "Which tables inherit from which."] {
    inhrelid: i64,
    inhparent: i64,
    inhseqno: i32,
    inhdetachpending: bool,
} }

empty! { pg_init_privs, "pg_init_privs", #[doc = "Rights as they were at first."] {
    objoid: i64,
    classoid: i64,
    objsubid: i32,
    privtype: Option<String>,
    initprivs: Option<Vec<String>>,
} }

empty! { pg_largeobject_metadata, "pg_largeobject_metadata", #[doc = "Large objects."] {
    oid: i64,
    lomowner: i64,
    lomacl: Option<Vec<String>>,
} }

empty! { pg_locks, "pg_locks", #[doc = "Locks of PostgreSQL's kind."] {
    locktype: Option<String>,
    database: i64,
    relation: i64,
    page: i32,
    tuple: i16,
    virtualxid: Option<String>,
    transactionid: i64,
    classid: i64,
    objid: i64,
    objsubid: i16,
    virtualtransaction: Option<String>,
    pid: i64,
    mode: Option<String>,
    granted: bool,
    fastpath: bool,
    waitstart: Option<crate::Instant>,
} }

empty! { pg_matviews, "pg_matviews", #[doc = "Materialized views."] {
    schemaname: Option<String>,
    matviewname: Option<String>,
    matviewowner: Option<String>,
    tablespace: Option<String>,
    hasindexes: bool,
    ispopulated: bool,
    definition: Option<String>,
} }

empty! { pg_opclass, "pg_opclass", #[doc = "Operator classes."] {
    oid: i64,
    opcmethod: i64,
    opcname: Option<String>,
    opcnamespace: i64,
    opcowner: i64,
    opcfamily: i64,
    opcintype: i64,
    opcdefault: bool,
    opckeytype: i64,
} }

empty! { pg_operator, "pg_operator", #[doc = "Operators that users made."] {
    oid: i64,
    oprname: Option<String>,
    oprnamespace: i64,
    oprowner: i64,
    oprkind: Option<String>,
    oprcanmerge: bool,
    oprcanhash: bool,
    oprleft: i64,
    oprright: i64,
    oprresult: i64,
    oprcom: i64,
    oprnegate: i64,
    oprcode: Option<String>,
    oprrest: Option<String>,
    oprjoin: Option<String>,
} }

empty! { pg_opfamily, "pg_opfamily", #[doc = "Operator families."] {
    oid: i64,
    opfmethod: i64,
    opfname: Option<String>,
    opfnamespace: i64,
    opfowner: i64,
} }

empty! { pg_partitioned_table, "pg_partitioned_table", #[doc = "Tables with partitions of PostgreSQL's kind."] {
    partrelid: i64,
    partstrat: Option<String>,
    partnatts: i16,
    partdefid: i64,
    partattrs: Option<Vec<i16>>,
    partclass: Option<Vec<i64>>,
    partcollation: Option<Vec<i64>>,
    partexprs: Option<String>,
} }

empty! { pg_policy, "pg_policy", #[doc = "Row security policies."] {
    oid: i64,
    polname: Option<String>,
    polrelid: i64,
    polcmd: Option<String>,
    polpermissive: bool,
    polroles: Option<Vec<i64>>,
    polqual: Option<String>,
    polwithcheck: Option<String>,
} }

empty! { pg_prepared_statements, "pg_prepared_statements", #[doc = "Statements prepared by PREPARE."] {
    name: Option<String>,
    statement: Option<String>,
    prepare_time: Option<crate::Instant>,
    parameter_types: Option<Vec<String>>,
    from_sql: bool,
} }

empty! { pg_prepared_xacts, "pg_prepared_xacts", #[doc = "Transactions prepared by PREPARE TRANSACTION."] {
    transaction: i64,
    gid: Option<String>,
    prepared: Option<crate::Instant>,
    owner: Option<String>,
    database: Option<String>,
} }

empty! { pg_publication, "pg_publication", #[doc = "Publications."] {
    oid: i64,
    pubname: Option<String>,
    pubowner: i64,
    puballtables: bool,
    pubinsert: bool,
    pubupdate: bool,
    pubdelete: bool,
    pubtruncate: bool,
    pubviaroot: bool,
} }

empty! { pg_publication_namespace, "pg_publication_namespace", #[doc = "Schemas of publications."] {
    oid: i64,
    pnpubid: i64,
    pnnspid: i64,
} }

empty! { pg_publication_rel, "pg_publication_rel", #[doc = "Tables of publications."] {
    oid: i64,
    prpubid: i64,
    prrelid: i64,
    prqual: Option<String>,
    prattrs: Option<Vec<i16>>,
} }

empty! { pg_range, "pg_range", #[doc = "Range types."] {
    rngtypid: i64,
    rngsubtype: i64,
    rngmultitypid: i64,
    rngcollation: i64,
    rngsubopc: i64,
    rngcanonical: Option<String>,
    rngsubdiff: Option<String>,
} }

empty! { pg_rewrite, "pg_rewrite", #[doc = "Rules."] {
    oid: i64,
    rulename: Option<String>,
    ev_class: i64,
    ev_type: Option<String>,
    ev_enabled: Option<String>,
    is_instead: bool,
    ev_qual: Option<String>,
    ev_action: Option<String>,
} }

empty! { pg_seclabel, "pg_seclabel", #[doc = "Security labels."] {
    objoid: i64,
    classoid: i64,
    objsubid: i32,
    provider: Option<String>,
    label: Option<String>,
} }

empty! { pg_sequence, "pg_sequence", #[doc = "Sequences."] {
    seqrelid: i64,
    seqtypid: i64,
    seqstart: i64,
    seqincrement: i64,
    seqmax: i64,
    seqmin: i64,
    seqcache: i64,
    seqcycle: bool,
} }

empty! { pg_sequences, "pg_sequences", #[doc = "Sequences, by name."] {
    schemaname: Option<String>,
    sequencename: Option<String>,
    sequenceowner: Option<String>,
    data_type: Option<String>,
    start_value: i64,
    min_value: i64,
    max_value: i64,
    increment_by: i64,
    cycle: bool,
    cache_size: i64,
    last_value: i64,
} }

empty! { pg_shdepend, "pg_shdepend", #[doc = "What depends on users."] {
    dbid: i64,
    classid: i64,
    objid: i64,
    objsubid: i32,
    refclassid: i64,
    refobjid: i64,
    deptype: Option<String>,
} }

empty! { pg_shdescription, "pg_shdescription", #[doc = "Comments on databases and users."] {
    objoid: i64,
    classoid: i64,
    description: Option<String>,
} }

empty! { pg_statistic_ext, "pg_statistic_ext", #[doc = "Extended statistics."] {
    oid: i64,
    stxrelid: i64,
    stxname: Option<String>,
    stxnamespace: i64,
    stxowner: i64,
    stxstattarget: i32,
    stxkeys: Option<Vec<i16>>,
    stxkind: Option<Vec<String>>,
    stxexprs: Option<String>,
} }

empty! { pg_subscription, "pg_subscription", #[doc = "Subscriptions."] {
    oid: i64,
    subdbid: i64,
    subname: Option<String>,
    subowner: i64,
    subenabled: bool,
    subconninfo: Option<String>,
    subslotname: Option<String>,
    subsynccommit: Option<String>,
    subpublications: Option<Vec<String>>,
} }

empty! { pg_timezone_names, "pg_timezone_names", #[doc = "Time zones by name: there is UTC."] {
    name: Option<String>,
    abbrev: Option<String>,
    utc_offset: Option<String>,
    is_dst: bool,
} }

empty! { pg_trigger, "pg_trigger", #[doc = "Triggers."] {
    oid: i64,
    tgrelid: i64,
    tgparentid: i64,
    tgname: Option<String>,
    tgfoid: i64,
    tgtype: i16,
    tgenabled: Option<String>,
    tgisinternal: bool,
    tgconstrrelid: i64,
    tgconstrindid: i64,
    tgconstraint: i64,
    tgdeferrable: bool,
    tginitdeferred: bool,
    tgnargs: i16,
    tgattr: Option<Vec<i16>>,
    tgqual: Option<String>,
    tgoldtable: Option<String>,
    tgnewtable: Option<String>,
} }

empty! { pg_ts_config, "pg_ts_config", #[doc = "Text search configurations."] {
    oid: i64,
    cfgname: Option<String>,
    cfgnamespace: i64,
    cfgowner: i64,
    cfgparser: i64,
} }

empty! { pg_ts_dict, "pg_ts_dict", #[doc = "Text search dictionaries."] {
    oid: i64,
    dictname: Option<String>,
    dictnamespace: i64,
    dictowner: i64,
    dicttemplate: i64,
    dictinitoption: Option<String>,
} }

empty! { pg_ts_parser, "pg_ts_parser", #[doc = "Text search parsers."] {
    oid: i64,
    prsname: Option<String>,
    prsnamespace: i64,
    prsstart: Option<String>,
    prstoken: Option<String>,
    prsend: Option<String>,
    prsheadline: Option<String>,
    prslextype: Option<String>,
} }

empty! { pg_ts_template, "pg_ts_template", #[doc = "Text search templates."] {
    oid: i64,
    tmplname: Option<String>,
    tmplnamespace: i64,
    tmplinit: Option<String>,
    tmpllexize: Option<String>,
} }

empty! { pg_user_mapping, "pg_user_mapping", #[doc = "User mappings."] {
    oid: i64,
    umuser: i64,
    umserver: i64,
    umoptions: Option<Vec<String>>,
} }
