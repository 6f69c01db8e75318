//! SQL templates: the names of the tables are all that ever enters a statement as text.

use crate::{TableName, Tables, tables::MAX_IDENTIFIER};

/// Fills the placeholders of a template: `{outbox_events}` is the whole name,
/// `{outbox_events.local}` the name without the schema, `{outbox_events.schema}` the schema with its
/// dot, and `{outbox_events.idx_seq}` the name of an index.
pub(crate) fn render(tables: &Tables, template: &str) -> String {
    let all = [
        ("outbox_events", &tables.outbox_events),
        ("outbox_relay", &tables.outbox_relay),
        ("outbox_dead_letters", &tables.outbox_dead_letters),
        ("outbox_archive", &tables.outbox_archive),
        ("outbox_schemas", &tables.outbox_schemas),
        ("processed_events", &tables.processed_events),
        ("given_up_events", &tables.given_up_events),
        ("consumer_starts", &tables.consumer_starts),
        ("migrations", &tables.migrations),
    ];
    let mut sql = template.to_owned();
    for (placeholder, table) in all {
        // In quotes: a name may be a reserved word.
        let local = format!("\"{}\"", table.name);
        let schema = table.schema.as_ref().map(|schema| format!("\"{schema}\"."));
        let schema = schema.unwrap_or_default();
        sql = sql
            .replace(&format!("{{{placeholder}}}"), &format!("{schema}{local}"))
            .replace(&format!("{{{placeholder}.local}}"), &local)
            .replace(&format!("{{{placeholder}.schema}}"), &schema);
        let index = format!("{{{placeholder}.idx_");
        while let Some(at) = sql.find(&index) {
            let suffix = at + index.len();
            let end = suffix + sql[suffix..].find('}').expect("templates close their braces");
            let name = format!("\"{}\"", index_name(table, &sql[suffix..end]));
            sql.replace_range(at..=end, &name);
        }
    }
    sql
}

/// The name of an index, within the limit, and different for different tables.
fn index_name(table: &TableName, suffix: &str) -> String {
    let whole = format!("{}_{suffix}", table.name);
    if whole.len() <= MAX_IDENTIFIER {
        return whole;
    }
    let tail = format!("_{:08x}_{suffix}", fnv1a(&table.name));
    format!("{}{tail}", &table.name[..MAX_IDENTIFIER - tail.len()])
}

/// The 32-bit FNV-1a hash, which is the same in every build.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_names_of_long_tables_are_short_and_different() {
        let name = |last| {
            let table = TableName::new(format!("{}{last}", "x".repeat(62))).unwrap();
            index_name(&table, "aggregate")
        };
        assert_eq!(name("1").len(), MAX_IDENTIFIER);
        assert_ne!(name("1"), name("2"));
        assert_eq!(index_name(&TableName::new("s.t").unwrap(), "aggregate"), "t_aggregate");
    }

    #[test]
    fn a_template_names_each_table_and_index() {
        let tables = Tables::in_schema("s").unwrap();
        let sql = "{outbox_relay} {outbox_relay.local} {outbox_relay.schema}{outbox_relay.idx_a}";
        assert_eq!(
            render(&tables, sql),
            "\"s\".\"outbox_relay\" \"outbox_relay\" \"s\".\"outbox_relay_a\""
        );
    }
}
