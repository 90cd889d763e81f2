-- The online store beside the registry: a database of its own, a role that fills it (`make features`),
-- and one that may only read it, for the server, which so has no password to the registry. Run again, it
-- gives both roles new passwords, and the store keeps what is in it.
\set ON_ERROR_STOP on
SELECT format('CREATE ROLE %I LOGIN', wanted) FROM unnest(ARRAY['features_writer', 'features_reader']) AS wanted
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec
SELECT 'CREATE DATABASE online OWNER features_writer'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'online') \gexec
REVOKE CONNECT ON DATABASE churn FROM PUBLIC;
\connect online
ALTER SCHEMA public OWNER TO features_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE features_writer IN SCHEMA public GRANT SELECT ON TABLES TO features_reader;
-- Last, and both or none: where something above fails, the passwords that clients have go on being right.
BEGIN;
ALTER ROLE features_writer PASSWORD :'writer';
ALTER ROLE features_reader PASSWORD :'reader';
COMMIT;
