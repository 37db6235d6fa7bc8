#pragma once

// What a place asks in each of its steps, as SQL. Prepared in its session.
namespace stash::inline v1::detail {

/// What is called $4 in the schema $1 ("here"), and in $2, where it would be parked ("there"). The last column: whether
/// $2 and $3 are there and ours, and its owner may look into $2.
///
/// Whoever owns a schema of a place could drop what is in it, and whoever may create there could put a table where a
/// parked one is looked for. So both must be somebody who may do so anyway; for a superuser, too, who is a member of
/// all roles only where he is asked. "refused", in the first row: what is no such somebody, of the schemas $2 and $3.
inline constexpr char postgres_look_sql[] = R"sql(
WITH RECURSIVE us AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
  UNION SELECT m.roleid FROM us JOIN pg_auth_members m ON m.member = us.oid
), trusted AS (
  SELECT oid FROM us UNION SELECT oid FROM pg_roles WHERE rolsuper
  UNION SELECT datdba FROM pg_database WHERE datname = current_database()
  UNION SELECT nspowner FROM pg_namespace WHERE nspname = $1::text
), of_place AS (
  SELECT * FROM pg_namespace WHERE nspname IN ($2::text, $3::text)
), room AS (
  SELECT count(*) = 2 AND bool_and(nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)) AS is_ready,
    max(oid) FILTER (WHERE nspname = $2::text) AS parked FROM of_place
), refused AS (
  SELECT quote_ident(nspname) AS schema, format('is role %s''s', pg_get_userbyid(nspowner)) AS why FROM of_place
    WHERE nspowner NOT IN (SELECT oid FROM trusted)
  UNION ALL SELECT quote_ident(nspname), format('of role %s lets %s create what it likes', pg_get_userbyid(nspowner),
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE 'role ' || pg_get_userbyid(grantee) END) FROM of_place, aclexplode(nspacl)
    WHERE privilege_type = 'CREATE' AND grantee <> nspowner AND grantee NOT IN (SELECT oid FROM trusted)
  ORDER BY 1, 2 LIMIT 1
)
SELECT 'refused', schema, why, '', '', '', '', '' FROM refused
UNION ALL SELECT CASE nspname WHEN $1::text THEN 'here' ELSE 'there' END, c.oid::text, CASE
    WHEN relkind <> 'r' THEN CASE relkind WHEN 'p' THEN 'a partitioned table' WHEN 'v' THEN 'a view' WHEN 'm' THEN
      'a materialized view' WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type' ELSE 'an index' END
    WHEN relispartition THEN 'a partition of another table'
    WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      THEN 'a table of an extension' ELSE '' END,
    relkind::text, pg_get_userbyid(relowner)::text, (relkind = 'r' AND pg_relation_size(c.oid) < 1000000)::text,
    pg_has_role(relowner, 'USAGE')::text, (is_ready AND has_schema_privilege(relowner, parked, 'USAGE'))::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, room
  WHERE nspname IN ($1::text, $2::text) AND relname = $4::text
)sql";

}  // namespace stash::inline v1::detail
