-- The online store beside the registry: a database of its own, a role that fills it (`make features`),
-- and one that may only read it, for the server, which so has no password to the registry.
\set ON_ERROR_STOP on
CREATE ROLE features_writer LOGIN PASSWORD :'writer';
CREATE ROLE features_reader LOGIN PASSWORD :'reader';
CREATE DATABASE online OWNER features_writer;
REVOKE CONNECT ON DATABASE churn FROM PUBLIC;
\connect online
ALTER SCHEMA public OWNER TO features_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE features_writer IN SCHEMA public GRANT SELECT ON TABLES TO features_reader;
