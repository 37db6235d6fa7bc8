#pragma once

// What depends on a table, as SQL. The search path is pg_catalog: so all names come with their schema.
namespace stash::inline v1::detail {

/// What others have that depends on the table $1 (an oid). It follows the table's identity, and would go on seeing the
/// old one. The statements name the table as it is called now. An object that cannot be made anew has none.
inline constexpr char postgres_dependents_sql[] = R"sql(
WITH t AS (
  SELECT c.oid, c.reltype, y.typarray, format('%I.%I', n.nspname, c.relname) AS named FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_type y ON y.oid = c.reltype WHERE c.oid = $1::text::oid
), its AS (  -- one by one, so that pg_depend is read by its index
  SELECT 'pg_class'::regclass AS class, oid FROM t
  UNION ALL SELECT 'pg_class'::regclass, d.objid FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid =
    t.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  UNION ALL SELECT 'pg_type'::regclass, reltype FROM t UNION ALL SELECT 'pg_type'::regclass, typarray FROM t
), dep AS (
  SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END AS objsubid,
    bool_or(d.refclassid = 'pg_type'::regclass) AS by_type
  FROM its JOIN pg_depend d ON d.refclassid = its.class AND d.refobjid = its.oid AND d.deptype = 'n' GROUP BY 1, 2, 3
), of_other AS (
  SELECT dep.*, r.rel FROM t, dep LEFT JOIN LATERAL (
    SELECT ev_class AS rel FROM pg_rewrite WHERE dep.classid = 'pg_rewrite'::regclass AND oid = dep.objid
    UNION ALL SELECT polrelid FROM pg_policy WHERE dep.classid = 'pg_policy'::regclass AND oid = dep.objid
    UNION ALL SELECT tgrelid FROM pg_trigger WHERE dep.classid = 'pg_trigger'::regclass AND oid = dep.objid
    UNION ALL SELECT conrelid FROM pg_constraint WHERE dep.classid = 'pg_constraint'::regclass AND oid = dep.objid
    UNION ALL SELECT adrelid FROM pg_attrdef WHERE dep.classid = 'pg_attrdef'::regclass AND oid = dep.objid
    UNION ALL SELECT prrelid FROM pg_publication_rel WHERE dep.classid = 'pg_publication_rel'::regclass AND oid =
      dep.objid
    UNION ALL SELECT stxrelid FROM pg_statistic_ext WHERE dep.classid = 'pg_statistic_ext'::regclass AND oid =
      dep.objid
    UNION ALL SELECT indrelid FROM pg_index WHERE dep.classid = 'pg_class'::regclass AND indexrelid = dep.objid
  ) r ON true WHERE r.rel IS DISTINCT FROM t.oid
), made_view AS (
  SELECT o.classid, o.objid, c.oid, c.relkind, c.reltoastrelid, format('%I.%I', n.nspname, c.relname) AS named,
    c.relispopulated, a.amname, s.spcname,
    (SELECT ' WITH (' || string_agg(quote_ident(split_part(x, '=', 1)) || '=' || quote_literal(substr(x, strpos(x, '=') + 1)),
      ', ' ORDER BY i) || ')' FROM unnest(c.reloptions) WITH ORDINALITY AS u (x, i)) AS options,
    format('; ALTER %s %I.%I OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, n.nspname,
      c.relname, pg_get_userbyid(c.relowner)) ||
    -- what default privileges give to one that is made anew
    CASE WHEN EXISTS (SELECT FROM pg_default_acl WHERE defaclobjtype = 'r') THEN format('; DO %L', format('DECLARE x text;'
      ' BEGIN FOR x IN SELECT DISTINCT CASE grantee WHEN 0 THEN ''PUBLIC'' ELSE quote_ident(pg_get_userbyid(grantee)) END'
      ' FROM pg_class, aclexplode(relacl) WHERE oid = %1$L::regclass AND grantee <> relowner LOOP'
      ' EXECUTE format(''REVOKE ALL ON %%s FROM %%s'', %1$L::regclass, x); END LOOP; END',
      format('%I.%I', n.nspname, c.relname))) ELSE '' END ||
    coalesce((SELECT string_agg(format('; GRANT %s ON %I.%I TO %s%s', privilege_type, n.nspname, c.relname, CASE grantee
      WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION'
      ELSE '' END), '' ORDER BY grantor <> c.relowner, grantee, privilege_type) FROM aclexplode(c.relacl)), '') ||
    coalesce((SELECT string_agg(format('; COMMENT ON %s IS %L', CASE objsubid WHEN 0 THEN format('%s %I.%I',
      CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, n.nspname, c.relname) ELSE format('COLUMN %I.%I.%I',
      n.nspname, c.relname, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = objsubid)) END,
      description), '' ORDER BY objsubid) FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = c.oid), '')
      AS more
  FROM of_other o JOIN pg_rewrite w ON o.classid = 'pg_rewrite'::regclass AND w.oid = o.objid AND w.rulename = '_RETURN'
  JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_am a ON a.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
), filled AS (
  -- REFRESH runs as the owner, with the row security that is the owner's
  SELECT m.*, format('CREATE MATERIALIZED VIEW %s USING %I%s%s AS %s WITH NO DATA', named, amname, options,
      ' TABLESPACE ' || quote_ident(spcname), rtrim(pg_get_viewdef(m.oid), ';')) || more ||
    coalesce((SELECT string_agg('; ' || pg_get_indexdef(indexrelid) || coalesce('; COMMENT ON INDEX ' || indexrelid::regclass
      || ' IS ' || quote_literal(obj_description(indexrelid, 'pg_class')), '') || CASE WHEN indisclustered THEN
      format('; ALTER MATERIALIZED VIEW %s CLUSTER ON %I', named, (SELECT relname FROM pg_class WHERE oid = indexrelid))
      ELSE '' END, '' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = m.oid), '') ||
    CASE WHEN relispopulated THEN '; REFRESH MATERIALIZED VIEW ' || named ELSE '' END AS ddl,
    EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = m.oid AND a.attnum > 0
      AND NOT a.attisdropped AND (a.attacl IS NOT NULL OR coalesce(a.attstattarget, -1) >= 0 OR a.attoptions IS NOT NULL OR
      a.attstorage <> y.typstorage)) OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = m.oid)
      OR EXISTS (SELECT FROM pg_class x WHERE x.oid = m.reltoastrelid AND x.reloptions IS NOT NULL)
      OR EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = m.oid
      AND x.reltablespace <> 0) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'x'
      AND d.objid IN (SELECT m.oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = m.oid)) AS has_more
  FROM made_view m WHERE relkind = 'm'
), found AS (
  SELECT classid, objid, 'view' AS kind, named AS name, 'false' AS first, create_it AS make, 'DROP VIEW ' || named AS unmake,
    create_it || more AS ddl FROM made_view v,
    LATERAL (SELECT format('CREATE OR REPLACE VIEW %s%s AS %s', named, options, rtrim(pg_get_viewdef(v.oid), ';')) AS create_it)
    AS c WHERE relkind = 'v'
  UNION ALL SELECT classid, objid, 'materialized view', named, 'true', CASE WHEN NOT has_more THEN ddl END,
    'DROP MATERIALIZED VIEW ' || named, ddl FROM filled
  UNION ALL SELECT o.classid, o.objid, 'foreign key', conrelid::regclass || '.' || quote_ident(conname), 'true',
    CASE WHEN NOT EXISTS (SELECT FROM pg_trigger WHERE tgconstraint = k.oid AND tgenabled <> 'O') THEN add_it END,
    format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), add_it
    FROM of_other o JOIN pg_constraint k ON o.classid = 'pg_constraint'::regclass AND k.oid = o.objid AND contype =
      'f' AND conparentid = 0, LATERAL (SELECT
      format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(k.oid)) ||
      coalesce(format('; COMMENT ON CONSTRAINT %I ON %s IS ', conname, conrelid::regclass) ||
      quote_literal(obj_description(k.oid, 'pg_constraint')), '') AS add_it) AS x
  UNION ALL SELECT o.classid, o.objid, 'policy', polrelid::regclass || '.' || quote_ident(polname), 'false',
    format('ALTER POLICY %I ON %s%s%s', polname, polrelid::regclass, ' USING (' || pg_get_expr(polqual, polrelid) ||
      ')',
      ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'), NULL, NULL
    FROM of_other o JOIN pg_policy p ON o.classid = 'pg_policy'::regclass AND p.oid = o.objid
  UNION ALL SELECT o.classid, o.objid, 'rule', ev_class::regclass || '.' || quote_ident(rulename), 'false',
    regexp_replace(pg_get_ruledef(w.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE'), NULL, NULL
    FROM of_other o JOIN pg_rewrite w ON o.classid = 'pg_rewrite'::regclass AND w.oid = o.objid AND w.rulename <>
      '_RETURN'
  UNION ALL SELECT o.classid, o.objid, 'function', o.objid::regprocedure::text, 'false',
    CASE WHEN NOT o.by_type THEN pg_get_functiondef(o.objid) || needs END, 'DROP ROUTINE ' || o.objid::regprocedure,
    pg_get_functiondef(o.objid) || needs || format('; ALTER ROUTINE %s OWNER TO %I', o.objid::regprocedure,
      pg_get_userbyid(p.proowner)) ||
    CASE WHEN p.proacl IS NULL THEN '' ELSE format('; REVOKE ALL ON ROUTINE %s FROM PUBLIC', o.objid::regprocedure) END ||
    coalesce((SELECT string_agg(format('; GRANT EXECUTE ON ROUTINE %s TO %s', o.objid::regprocedure, CASE grantee WHEN 0
      THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END), '' ORDER BY grantee) FROM aclexplode(p.proacl)), '') ||
    coalesce(format('; COMMENT ON ROUTINE %s IS ', o.objid::regprocedure) || quote_literal(obj_description(p.oid, 'pg_proc')), '')
    FROM of_other o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid AND prokind IN ('f', 'p', 'w'),
    LATERAL (SELECT coalesce(string_agg(format('; ALTER ROUTINE %s DEPENDS ON EXTENSION %I', o.objid::regprocedure, extname), ''
      ORDER BY extname), '') AS needs FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND
      e.oid = d.refobjid WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'x') AS x
  UNION ALL SELECT o.classid, o.objid, 'default', d.adrelid::regclass || '.' || quote_ident(a.attname), 'false',
    format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', d.adrelid::regclass, a.attname, pg_get_expr(d.adbin, d.adrelid)), NULL, NULL
    FROM of_other o JOIN pg_attrdef d ON o.classid = 'pg_attrdef'::regclass AND d.oid = o.objid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
)
SELECT kind, name, first, make, unmake, coalesce(ddl, make) FROM found
UNION ALL SELECT 'object', pg_describe_object(classid, objid, objsubid), 'false', NULL, NULL, NULL FROM of_other o
  WHERE NOT EXISTS (SELECT FROM found f WHERE f.classid = o.classid AND f.objid = o.objid)
ORDER BY 1, 2
)sql";

/// What depends on the table $1 (an oid) and belongs to a role whose rights we do not have.
inline constexpr char postgres_owners_sql[] = R"sql(
SELECT pg_describe_object(o.classid, o.objid, 0) FROM (
  SELECT 'pg_class'::regclass AS classid, c.oid AS objid, c.relowner AS owner
  FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
  LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
  LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
  JOIN pg_class c ON c.oid = coalesce(w.ev_class, p.polrelid, k.conrelid, f.adrelid)
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::text::oid
  UNION ALL SELECT d.classid, p.oid, p.proowner FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND
    p.oid = d.objid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::text::oid
) o WHERE NOT pg_has_role(o.owner, 'USAGE') LIMIT 1
)sql";

}  // namespace stash::inline v1::detail
