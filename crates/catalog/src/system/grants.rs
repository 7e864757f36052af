use crate::{Access, SYSTEM, Snapshot};

computed_table! { SYSTEM, "grants",
    /// One row for each thing that was granted to a user. Owners and admins need no grant.
    struct Row {
        /// Who may do it.
        user_name: String,
        /// On which table or view.
        table_name: String,
        /// `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
        privilege: String,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let tables = snapshot.tables.iter().map(|state| (&state.table.name, &state.table.access));
    let views = snapshot.views.iter().map(|view| (&view.name, &view.access));
    let mut rows: Vec<Row> = tables.chain(views).flat_map(|(name, access)| granted(name, access)).collect();
    rows.sort_by(|a, b| (&a.user_name, &a.table_name).cmp(&(&b.user_name, &b.table_name)));
    rows
}

fn granted<'a>(table: &'a str, access: &'a Access) -> impl Iterator<Item = Row> {
    let of_user = move |(user, privileges): (&'a String, &'a std::collections::BTreeSet<_>)| {
        privileges.iter().map(move |privilege: &evenkeel_model::Privilege| Row {
            user_name: user.clone(),
            table_name: table.to_string(),
            privilege: privilege.name().to_string(),
        })
    };
    access.grants.iter().flat_map(of_user)
}
