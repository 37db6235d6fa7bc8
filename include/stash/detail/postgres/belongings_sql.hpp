#pragma once

#include <string>
#include <string_view>

// What hangs on a table, as SQL. The search path is pg_catalog: so all names come with their schema.
namespace stash::inline v1::detail {

/// What belongs to the table $1 (an oid). The statements are for a table that is called $2, in the schema $3 (both as
/// SQL); what concerns a column alone is listed only where the table $4 (an oid) has it. Names between @ stand for what
/// depends on who has made the new table, and what is between @us@ and @end@ is for `postgres_built_by::us`; see below.
inline constexpr char postgres_belongings_sql[] = R"sql(
WITH t AS (  -- no more columns than are used: with each the server has work in each of the many parts below
  SELECT c.oid, relowner, relacl, relkind, relpersistence, relam, reltablespace, reltoastrelid, reloftype, reloptions,
    relrowsecurity, relforcerowsecurity, relreplident, format('%I.%I', n.nspname, c.relname) AS named FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid
), switched AS (  -- foreign keys some of whose triggers somebody has disabled
  SELECT tgconstraint AS constraint_oid FROM pg_trigger JOIN pg_constraint k ON k.oid = tgconstraint
  WHERE k.conrelid = $1::text::oid AND k.contype = 'f' AND tgenabled <> 'O'
), col AS (
  SELECT a.attrelid, a.attnum, a.attname, a.attgenerated, a.attidentity, a.attcollation, a.attstattarget, a.attoptions,
    a.attnotnull, a.attstorage, @compression@ AS compression, format_type(a.atttypid, a.atttypmod) AS typed, y.typstorage, y.typcollation,
    b.atttypid IS NOT DISTINCT FROM a.atttypid AS is_of_same_type
  FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attribute b
    ON b.attrelid = $4::text::oid AND b.attname = a.attname AND NOT b.attisdropped
  WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped AND (b.attname IS NOT NULL
    OR a.attgenerated <> '' OR a.attidentity <> '')
), seq AS (
  SELECT s.oid, s.relname, s.relowner, s.relacl, n.nspname, d.refobjid AS of_table, d.deptype, a.attname, (@replaced@) AS is_replaced FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND
    s.relkind = 'S'
  JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum =
    d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.refobjid IN ($1::text::oid, $4::text::oid)
), ix AS (
  SELECT i.indexrelid, i.indisreplident, i.indisclustered, c.relname, c.reltablespace, c.reloptions, k.oid AS constraint_oid,
    format('%s.%I', $3::text, c.relname) AS named,
    format('CREATE %sINDEX %I ON %s%s', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname,
           CASE WHEN t.relkind = 'p' THEN 'ONLY ' ELSE '' END, t.named) AS begins,
    format('CREATE %sINDEX %I ON %s', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname, $2::text) AS
      on_target
  FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.conrelid = t.oid AND k.contype IN ('p', 'u', 'x')
), grants AS (
  SELECT 'TABLE ' || $2 AS on_what, t.relowner AS owner, NULL AS part, e.* FROM t,
    aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) e
  UNION ALL SELECT 'TABLE ' || $2, t.relowner, format(' (%I)', a.attname), e.* FROM t JOIN pg_attribute a
    ON a.attrelid = t.oid AND NOT a.attisdropped, aclexplode(a.attacl) e
  UNION ALL SELECT format('SEQUENCE %s.%I', $3, s.relname), s.relowner, NULL, e.* FROM seq s,
    aclexplode(coalesce(s.relacl, acldefault('s', s.relowner))) e WHERE s.of_table = $1::text::oid AND s.is_replaced
    AND EXISTS (SELECT FROM seq b WHERE b.of_table = $4::text::oid AND b.is_replaced AND b.attname = s.attname)
), commented AS (
  SELECT 'pg_constraint'::regclass AS class, k.oid, format('CONSTRAINT %I ON %s', k.conname, $2) AS object
    FROM pg_constraint k WHERE k.conrelid = $1::text::oid
  UNION ALL SELECT 'pg_class'::regclass, indexrelid, 'INDEX ' || named FROM ix
  UNION ALL SELECT 'pg_trigger'::regclass, oid, format('TRIGGER %I ON %s', tgname, $2) FROM pg_trigger
    WHERE tgrelid = $1::text::oid AND NOT tgisinternal
  UNION ALL SELECT 'pg_rewrite'::regclass, oid, format('RULE %I ON %s', rulename, $2) FROM pg_rewrite
    WHERE ev_class = $1::text::oid
  UNION ALL SELECT 'pg_policy'::regclass, oid, format('POLICY %I ON %s', polname, $2) FROM pg_policy
    WHERE polrelid = $1::text::oid
  UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid, format('STATISTICS %I.%I', n.nspname, s.stxname)
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $1::text::oid
  UNION ALL SELECT 'pg_class'::regclass, oid, format('SEQUENCE %s.%I', $3, relname) FROM seq s
    WHERE of_table = $1::text::oid AND is_replaced
    AND EXISTS (SELECT FROM seq b WHERE b.of_table = $4::text::oid AND b.is_replaced AND b.attname = s.attname)
)
-- within a step unsorted: so grants stay in the order in which the server lists them
SELECT step::text, kind, name::text, make, unmake FROM (SELECT *, row_number() OVER () AS place FROM (
  -- before the swap, on what was built: what takes long, and what ANALYZE looks at
  SELECT 1 AS step, 'tablespace' AS kind, s.spcname::text AS name, format('ALTER TABLE %s SET TABLESPACE %I', $2::text,
    s.spcname) AS make, NULL AS unmake FROM t JOIN pg_tablespace s ON s.oid = t.reltablespace
  UNION ALL SELECT 1, 'partitioning', '', NULL, NULL FROM t WHERE relkind = 'p'
  @us@
  UNION ALL SELECT 1, 'persistence', '', format('ALTER TABLE %s SET %s', $2,
    CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END), NULL FROM t
  UNION ALL SELECT 1, 'access method', a.amname, format('ALTER TABLE %s SET ACCESS METHOD %I', $2, a.amname), NULL
    FROM t JOIN pg_am a ON a.oid = t.relam
  UNION ALL SELECT 1, 'collation', attname, format('ALTER TABLE %s ALTER COLUMN %I TYPE %s COLLATE %I.%I', $2,
    attname,
    typed, n.nspname, c.collname), NULL FROM col JOIN pg_collation c ON c.oid = attcollation
    JOIN pg_namespace n ON n.oid = c.collnamespace WHERE attcollation <> typcollation AND is_of_same_type
  UNION ALL SELECT 1, 'generated column', attname,
    format('ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s) %s', $2,
    attname, typed, pg_get_expr(d.adbin, d.adrelid), CASE attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END),
    NULL
    FROM col JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum WHERE attgenerated <> ''
  UNION ALL SELECT 1, 'identity column', attname, NULL, NULL FROM col WHERE attidentity <> ''
  UNION ALL SELECT 1, 'column type', attname, format('ALTER TABLE %s ALTER COLUMN %I TYPE %s', $2, attname, typed), NULL
    FROM col WHERE attname = '_id' AND attidentity = ''
  UNION ALL SELECT 1, 'default of _id that is no sequence of its own', '', NULL, NULL FROM t WHERE NOT EXISTS (SELECT FROM
    seq WHERE of_table = $1::text::oid AND attname = '_id')
  UNION ALL SELECT 1, 'type of the table', reloftype::regtype::text, NULL, NULL FROM t WHERE reloftype <> 0
  @end@
  UNION ALL SELECT CASE contype WHEN 'f' THEN 13 ELSE 2 END,
    CASE contype WHEN 'p' THEN 'primary key' WHEN 'c' THEN 'check constraint' ELSE 'constraint' END,
    conname,
    CASE WHEN k.oid IN (SELECT constraint_oid FROM switched) THEN NULL ELSE
    coalesce((SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', $2, b.conname, k.conname) FROM pg_constraint
      b
      WHERE k.contype = 'p' AND b.conrelid = $4::text::oid AND b.contype = 'p'
        AND pg_get_constraintdef(b.oid) = pg_get_constraintdef(k.oid)),
      format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2, conname, pg_get_constraintdef(oid))) END,
    CASE contype WHEN 'p' THEN format('ALTER TABLE %s DROP CONSTRAINT %I', $2, conname) END
    FROM pg_constraint k WHERE conrelid = $1::text::oid AND contype IN ('p', 'u', 'x', 'c', 'n', 'f')@constraints@
  UNION ALL SELECT 3, 'index', relname, CASE WHEN starts_with(made, begins || ' ')
    THEN on_target || substr(made, length(begins) + 1) END, NULL FROM ix, LATERAL (SELECT pg_get_indexdef(indexrelid)
    AS made OFFSET 0) AS x WHERE constraint_oid IS NULL
  UNION ALL SELECT 4, 'storage option', ix.relname || '.' || o, format('ALTER INDEX %s SET (%s)', named, o), NULL
    FROM ix, unnest(reloptions) o WHERE constraint_oid IS NOT NULL
  UNION ALL SELECT 4, 'tablespace', relname, format('ALTER INDEX %s SET TABLESPACE %I', named, s.spcname), NULL
    FROM ix JOIN pg_tablespace s ON s.oid = reltablespace
  UNION ALL SELECT 4, 'statistics target', ix.relname || '.' || a.attnum,
    format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s',
    named, a.attnum, a.attstattarget), NULL FROM ix JOIN pg_attribute a ON a.attrelid = indexrelid AND
      a.attstattarget >= 0
    AND a.attnum > 0 AND constraint_oid IS NULL
  UNION ALL SELECT 4, 'storage option', o, format('ALTER TABLE %s SET (%s)', $2, o), NULL FROM t,
    unnest(t.reloptions) o
  UNION ALL SELECT 4, 'storage option', 'toast.' || o, format('ALTER TABLE %s SET (toast.%s)', $2, o), NULL
    FROM t JOIN pg_class toast ON toast.oid = t.reltoastrelid, unnest(toast.reloptions) o
  UNION ALL SELECT 4, 'statistics target', attname, format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', $2,
    attname,
    attstattarget), NULL FROM col WHERE attstattarget >= 0
  UNION ALL SELECT 4, 'column option', attname || '.' || o, format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', $2,
    attname, o),
    NULL FROM col, unnest(attoptions) o
  -- in the swap
  UNION ALL SELECT 0, 'owner', pg_get_userbyid(relowner), format('ALTER TABLE %s OWNER TO %I', $2,
    pg_get_userbyid(relowner)), NULL FROM t
  UNION ALL SELECT 1, 'sequence', s.relname, format('ALTER SEQUENCE %s.%I RENAME TO %I', $3, b.relname, s.relname),
    NULL
    FROM seq s JOIN seq b ON b.of_table = $4::text::oid AND b.is_replaced AND b.attname = s.attname
    WHERE s.of_table = $1::text::oid AND s.is_replaced
  UNION ALL SELECT 12, 'sequence option', s.relname,
    format('ALTER SEQUENCE %s.%I AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s'
    ' START WITH %s CACHE %s %sCYCLE', $3, s.relname, format_type(p.seqtypid, NULL), p.seqincrement, p.seqmin,
      p.seqmax, p.seqstart,
    p.seqcache, CASE WHEN p.seqcycle THEN '' ELSE 'NO ' END), NULL FROM seq s JOIN pg_sequence p ON p.seqrelid = s.oid
    WHERE s.of_table = $1::text::oid AND s.is_replaced@options@
  UNION ALL SELECT CASE WHEN grantor = owner THEN 12 ELSE 13 END, 'grant', on_what || coalesce(part, '') || ' ' ||
    privilege_type || ' ' || g,
    CASE WHEN grantor <> owner THEN format('SET LOCAL ROLE %I; ', pg_get_userbyid(grantor)) ELSE '' END ||
    format('GRANT %s%s ON %s TO %s%s', privilege_type, coalesce(part, ''), on_what, g,
           CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) ||
    CASE WHEN grantor <> owner THEN '; RESET ROLE' ELSE '' END,
    format('REVOKE %s%s ON %s FROM %s', privilege_type, coalesce(part, ''), on_what, g)
    FROM grants, LATERAL (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS
      g) AS x
  UNION ALL SELECT 13, 'sequence', s.relname, format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', s.nspname, s.relname, $2,
    attname),
    NULL FROM seq s JOIN col USING (attname) WHERE s.of_table = $1::text::oid AND NOT s.is_replaced AND attidentity =
      ''
  UNION ALL SELECT 13, 'parent', i.inhparent::regclass::text, NULL, NULL FROM pg_inherits i WHERE i.inhrelid = $1::text::oid
  @us@
  UNION ALL SELECT 14, 'default', attname, format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', $2, attname,
    pg_get_expr(d.adbin, d.adrelid)), format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', $2, attname)
    FROM col JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum WHERE attgenerated = ''
  UNION ALL SELECT 14, 'not null', attname, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', $2, attname),
    format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', $2, attname) FROM col WHERE attnotnull AND attidentity = ''
  @end@
  UNION ALL SELECT 14, 'column storage', attname, format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', $2, attname,
    CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END), NULL
    FROM col WHERE attstorage <> typstorage AND is_of_same_type
  UNION ALL SELECT 14, 'column compression', attname, format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION %s', $2,
    attname,
    CASE compression WHEN 'p' THEN 'pglz' ELSE 'lz4' END), NULL FROM col WHERE compression <> ''
    AND is_of_same_type
  UNION ALL SELECT 15, 'trigger', tgname, pg_get_triggerdef(oid) || CASE tgenabled WHEN 'O' THEN '' ELSE
    format('; ALTER TABLE %s %s TRIGGER %I', $2, CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
      ELSE 'ENABLE ALWAYS' END, tgname) END, format('DROP TRIGGER %I ON %s', tgname, $2)
    FROM pg_trigger WHERE tgrelid = $1::text::oid AND NOT tgisinternal
  UNION ALL SELECT 15, 'rule', rulename, pg_get_ruledef(oid) || CASE ev_enabled WHEN 'O' THEN '' ELSE
    format(' ALTER TABLE %s %s RULE %I', $2, CASE ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
      ELSE 'ENABLE ALWAYS' END, rulename) END, NULL FROM pg_rewrite WHERE ev_class = $1::text::oid
  UNION ALL SELECT 15, 'policy', polname, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, $2,
    CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a'
      THEN 'INSERT'
      WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r) FROM
      unnest(polroles) r),
    ' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) ||
      ')'), NULL
    FROM pg_policy WHERE polrelid = $1::text::oid
  @security@
  UNION ALL SELECT 16, 'replica identity', '', format('ALTER TABLE %s REPLICA IDENTITY %s', $2, CASE relreplident
    WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL' WHEN 'i' THEN (SELECT format('USING INDEX %I', relname) FROM ix
      WHERE indisreplident)
    ELSE 'DEFAULT' END), NULL FROM t@identity@
  UNION ALL SELECT 16, 'cluster', relname, format('ALTER TABLE %s CLUSTER ON %I', $2, relname), NULL FROM ix WHERE
    indisclustered
  UNION ALL SELECT 17, 'publication', p.pubname, format('ALTER PUBLICATION %I ADD TABLE ONLY %s%s', p.pubname, $2,
    @publication@), NULL
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $1::text::oid
  UNION ALL SELECT 17, 'statistics', stxname, pg_get_statisticsobjdef(s.oid) || CASE WHEN
    coalesce((to_jsonb(s)->>'stxstattarget')::int, -1) < 0
    THEN '' ELSE format('; ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, stxname,
      to_jsonb(s)->>'stxstattarget') END ||
    CASE WHEN stxowner = t.relowner THEN '' ELSE format('; ALTER STATISTICS %I.%I OWNER TO %I', n.nspname, stxname,
      pg_get_userbyid(stxowner)) END, NULL
    FROM t JOIN pg_statistic_ext s ON s.stxrelid = t.oid JOIN pg_namespace n ON n.oid = s.stxnamespace
  UNION ALL SELECT 18, 'security label', l.provider || coalesce('.' || a.attname, ''),
    format('SECURITY LABEL FOR %I ON %s IS %L', l.provider,
    CASE WHEN a.attname IS NULL THEN 'TABLE ' || $2 ELSE format('COLUMN %s.%I', $2, a.attname) END, l.label), NULL
    FROM pg_seclabel l LEFT JOIN pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid AND l.objsubid > 0
    WHERE l.classoid = 'pg_class'::regclass AND l.objoid = $1::text::oid
  UNION ALL SELECT 19, 'dependency on extension', extname || ' of ' || object, format('ALTER %s DEPENDS ON EXTENSION %I',
    object, extname), NULL
    FROM commented JOIN pg_depend d ON d.classid = class AND d.objid = commented.oid AND d.deptype = 'x'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
  UNION ALL SELECT 20, 'comment', object, format('COMMENT ON %s IS %L', object, description), NULL
    FROM commented JOIN pg_description d ON d.classoid = class AND d.objoid = commented.oid AND d.objsubid = 0
  @words@
) AS found) AS numbered ORDER BY numbered.step, place
)sql";

/// For "@publication@": since PostgreSQL 15 a table may be in a publication with some of its columns and rows.
inline constexpr char postgres_publication_sql[] =
    R"sql(coalesce(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) || ')', '') ||
      coalesce(' WHERE ' || pg_get_expr(r.prqual, r.prrelid), ''))sql";

/// Who has made the table that takes another's place.
enum class postgres_built_by {
  us,     ///< a datastore, as it makes them all: of what is its own only the sequence of `_id` is not for the old one
          ///< to say, and its words somebody else writes
  others  ///< anybody's CREATE TABLE, which wins over the old one where both say something
};

struct postgres_text {
  char const *mark, *us, *others;
};
inline constexpr postgres_text postgres_texts[] = {
    // The sequence d.objid of the column a goes with the old table: the new one has its own, or needs none.
    {"@replaced@", "a.attname = '_id'",
     R"sql(d.deptype = 'i' OR EXISTS (SELECT FROM pg_attrdef f JOIN pg_depend g ON g.classid = 'pg_attrdef'::regclass
    AND g.objid = f.oid AND g.refclassid = 'pg_class'::regclass AND g.refobjid = d.objid
    WHERE f.adrelid = d.refobjid AND f.adnum = d.refobjsubid))sql"},
    // Of a serial column that is of the same type; an identity's are what CREATE says.
    {"@options@", "", R"sql( AND s.deptype = 'a' AND EXISTS (SELECT FROM seq b JOIN pg_sequence q ON q.seqrelid = b.oid
    WHERE b.of_table = $4::text::oid AND b.is_replaced AND b.attname = s.attname AND b.deptype = 'a' AND q.seqtypid =
    p.seqtypid))sql"},
    {"@constraints@", "", R"sql( AND contype <> 'n' AND NOT EXISTS (SELECT FROM pg_constraint b
    WHERE b.conrelid = $4::text::oid AND pg_get_constraintdef(b.oid) <> pg_get_constraintdef(k.oid)
    AND (b.conname = k.conname OR b.contype = 'p' AND k.contype = 'p')))sql"},
    {"@security@", R"sql(UNION ALL SELECT 16, 'row security', '',
    format('ALTER TABLE %1$s %2$s ROW LEVEL SECURITY; ALTER TABLE %1$s %3$s ROW LEVEL SECURITY',
    $2, CASE WHEN relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END, CASE WHEN relforcerowsecurity THEN 'FORCE' ELSE
      'NO FORCE' END),
    NULL FROM t)sql",
     // What protects is carried over, and never taken away.
     R"sql(UNION ALL SELECT 16, 'row security', '', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', $2), NULL
    FROM t WHERE relrowsecurity
  UNION ALL SELECT 16, 'row security', 'of the owner', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', $2), NULL
    FROM t WHERE relforcerowsecurity)sql"},
    {"@identity@", "", " WHERE relreplident <> 'd'"},
    {"@words@", "",
     R"sql(UNION ALL SELECT 20, 'comment', object, format('COMMENT ON %s IS %L', object, description), NULL
    FROM (SELECT d.*, a.attname, CASE WHEN d.objsubid = 0 THEN 'TABLE ' || $2 ELSE format('COLUMN %s.%I', $2, a.attname) END
      AS object FROM pg_description d LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
      AND d.objsubid > 0 WHERE d.classoid = 'pg_class'::regclass AND d.objoid = $1::text::oid) d
    WHERE $1 = $4 OR NOT EXISTS (SELECT FROM pg_description e LEFT JOIN pg_attribute a ON a.attrelid = e.objoid
      AND a.attnum = e.objsubid AND e.objsubid > 0 WHERE e.classoid = 'pg_class'::regclass AND e.objoid = $4::text::oid
      AND a.attname IS NOT DISTINCT FROM d.attname))sql"},
};

/// Puts what they stand for in the place of the marks.
inline void fill_in(std::string& sql, postgres_built_by by, int server_version) {
  // What the new table's own CREATE says for itself, nothing of the old one's changes.
  for (auto begin = sql.find("@us@"); by == postgres_built_by::others && begin != sql.npos; begin = sql.find("@us@")) {
    sql.erase(begin, sql.find("@end@", begin) - begin);
  }
  auto const put = [&](std::string_view mark, char const* text) {
    for (auto at = sql.find(mark); at != sql.npos; at = sql.find(mark, at)) sql.replace(at, mark.size(), text);
  };
  for (auto const& one : postgres_texts) put(one.mark, by == postgres_built_by::us ? one.us : one.others);
  put("@us@", "");
  put("@end@", "");
  put("@publication@", server_version < 150000 ? "''" : postgres_publication_sql);
  put("@compression@", server_version < 140000 ? "''" : "a.attcompression::text");
}

}  // namespace stash::inline v1::detail
