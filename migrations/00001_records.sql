-- +goose Up
-- The records that Postroom polls and the people it knows. Everything is unqualified: the schema is the search_path's
-- first (config key database.schema), so that one database can hold several organisations.

CREATE TABLE user_account (
  user_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE CHECK (name <> ''),
  address     text NOT NULL CHECK (position('@' in address) > 1),
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE queue (
  queue_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE CHECK (name <> ''),
  address     text NOT NULL CHECK (position('@' in address) > 1),
  owner_id    bigint REFERENCES user_account,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now()
);

-- account, contact and lead stand in for a CRM's own tables: party_directory (below) reads them, and an admin may
-- name a view over other tables instead.
CREATE TABLE account (
  account_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL,
  address     text,
  owner_id    bigint REFERENCES user_account,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE contact (
  contact_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL,
  address     text,
  account_id  bigint REFERENCES account,
  owner_id    bigint REFERENCES user_account,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE lead (
  lead_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL,
  address     text,
  owner_id    bigint REFERENCES user_account,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX user_account_address ON user_account (lower(address));
CREATE INDEX queue_address   ON queue   (lower(address));
CREATE INDEX account_address ON account (lower(address)) WHERE address IS NOT NULL;
CREATE INDEX contact_address ON contact (lower(address)) WHERE address IS NOT NULL;
CREATE INDEX lead_address    ON lead    (lower(address)) WHERE address IS NOT NULL;
CREATE INDEX queue_owner     ON queue   (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX account_owner   ON account (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX contact_owner   ON contact (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX contact_account ON contact (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX lead_owner      ON lead    (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE profile (
  profile_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name            text NOT NULL UNIQUE CHECK (name <> ''),
  protocol        text NOT NULL CHECK (protocol IN ('imap', 'pop3')),
  host            text NOT NULL CHECK (host <> ''),
  port            integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
  tls             text NOT NULL CHECK (tls IN ('implicit', 'starttls', 'plaintext')),
  ca_file         text NOT NULL DEFAULT '',
  max_connections integer NOT NULL DEFAULT 10 CHECK (max_connections BETWEEN 1 AND 300),
  timeout         interval NOT NULL DEFAULT '60 seconds' CHECK (timeout >= '1 second'),
  poll_timeout    interval NOT NULL DEFAULT '15 minutes' CHECK (poll_timeout >= '1 second'),
  max_octets      bigint NOT NULL DEFAULT 52428800 CHECK (max_octets > 0),
  authserv_id     text NOT NULL DEFAULT '',
  mx_hosts        text[] NOT NULL DEFAULT '{}',
  exchange        boolean NOT NULL DEFAULT false,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN profile.authserv_id IS 'authserv-id of the Authentication-Results that are trusted (RFC 8601)';
COMMENT ON COLUMN profile.mx_hosts IS 'host names our own MX writes after "by" in Received';
COMMENT ON COLUMN profile.exchange IS 'the server is Exchange behind its header firewall, so that X-MS-Exchange-Organization-* can be trusted';

CREATE TABLE mailbox (
  mailbox_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name            text NOT NULL UNIQUE CHECK (name <> ''),
  kind            text NOT NULL CHECK (kind IN ('user', 'queue', 'forward')),
  address         text NOT NULL CHECK (position('@' in address) > 1),
  user_id         bigint UNIQUE REFERENCES user_account,
  queue_id        bigint UNIQUE REFERENCES queue,
  incoming        text NOT NULL CHECK (incoming IN ('none', 'forward_mailbox', 'server_side')),
  profile_id      bigint REFERENCES profile,
  username        text NOT NULL DEFAULT '',
  secret_ref      text NOT NULL DEFAULT '' CHECK (secret_ref = '' OR secret_ref ~ '^(file|credential):.'),
  folders         text[] NOT NULL DEFAULT '{INBOX}',
  start_kind      text NOT NULL DEFAULT 'now' CHECK (start_kind IN ('now', 'date', 'all')),
  start_at        timestamptz,
  poll_interval   interval NOT NULL DEFAULT '1 minute' CHECK (poll_interval >= '1 second'),
  priority        smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10),
  disposition     text NOT NULL DEFAULT 'leave' CHECK (disposition IN ('leave', 'delete', 'move')),
  delete_after    interval NOT NULL DEFAULT '24 hours' CHECK (delete_after >= '0'),
  move_to         text NOT NULL DEFAULT '',
  undeliverable_folder text NOT NULL DEFAULT '',
  delete_ignored  boolean NOT NULL DEFAULT false,
  trust           text NOT NULL DEFAULT 'enforce' CHECK (trust IN ('enforce', 'warn', 'off')),
  token_suffices  boolean NOT NULL DEFAULT false,
  plus_token_digest bytea UNIQUE CHECK (octet_length(plus_token_digest) = 32),
  accept          text NOT NULL DEFAULT 'all' CHECK (accept IN ('all', 'none')),
  enabled         boolean NOT NULL DEFAULT false,
  enabled_at      timestamptz,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT mailbox_regarding CHECK (
    (kind = 'user' AND user_id IS NOT NULL AND queue_id IS NULL) OR
    (kind = 'queue' AND queue_id IS NOT NULL AND user_id IS NULL) OR
    (kind = 'forward' AND user_id IS NULL AND queue_id IS NULL)),
  CONSTRAINT mailbox_forward_incoming CHECK (kind <> 'forward' OR incoming <> 'forward_mailbox'),
  CONSTRAINT mailbox_polled CHECK (incoming <> 'server_side' OR (profile_id IS NOT NULL AND username <> '' AND secret_ref <> '')),
  CONSTRAINT mailbox_user_keeps_mail CHECK (kind <> 'user' OR disposition <> 'delete'),
  CONSTRAINT mailbox_move_to CHECK ((disposition = 'move') = (move_to <> '')),
  CONSTRAINT mailbox_start CHECK ((start_kind = 'date') = (start_at IS NOT NULL)),
  CONSTRAINT mailbox_enabled CHECK (NOT enabled OR enabled_at IS NOT NULL),
  CONSTRAINT mailbox_folders CHECK (cardinality(folders) > 0)
);
CREATE INDEX mailbox_profile ON mailbox (profile_id);
COMMENT ON COLUMN mailbox.secret_ref IS 'where the password is read from: file:/path or credential:name; never the password';
COMMENT ON COLUMN mailbox.plus_token_digest IS 'sha256 of the secret plus-address token under which a forward mailbox knows this recipient';

-- Every address belongs to one mailbox; address is folded (lower case).
CREATE TABLE mailbox_address (
  address     text PRIMARY KEY CHECK (address = lower(address)),
  mailbox_id  bigint NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  is_primary  boolean NOT NULL
);
CREATE INDEX mailbox_address_mailbox ON mailbox_address (mailbox_id);
CREATE UNIQUE INDEX mailbox_address_primary ON mailbox_address (mailbox_id) WHERE is_primary;

-- One account is watched by one mailbox only: same folder, or the maildrop (which is INBOX).
CREATE TABLE watched_folder (
  account     text NOT NULL,
  folder      text NOT NULL,
  mailbox_id  bigint NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  PRIMARY KEY (account, folder)
);
CREATE INDEX watched_folder_mailbox ON watched_folder (mailbox_id);
COMMENT ON COLUMN watched_folder.account IS 'host/username, lower case';

CREATE TABLE daemon (
  daemon_id    uuid PRIMARY KEY,
  host         text NOT NULL,
  pid          integer NOT NULL,
  version      text NOT NULL,
  started_at   timestamptz NOT NULL DEFAULT now(),
  heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- Work that waits in rows is claimed here. Hot, and apart from the records, so that edits and polls never lock each other.
CREATE TABLE lease (
  kind        text NOT NULL CHECK (kind IN ('mailbox')),
  target_id   bigint NOT NULL,
  next_at     timestamptz NOT NULL,
  priority    smallint NOT NULL DEFAULT 0,
  daemon_id   uuid REFERENCES daemon ON DELETE SET NULL,
  token       bigint NOT NULL DEFAULT 0,
  claimed_at  timestamptz,
  PRIMARY KEY (kind, target_id)
) WITH (fillfactor = 50);
COMMENT ON COLUMN lease.token IS 'fence: grows with each claim; every write of a poll compares it under FOR SHARE';
CREATE INDEX lease_due ON lease (kind, next_at);
CREATE INDEX lease_urgency ON lease (kind, (next_at - timestamptz '2000-01-01 00:00:00+00' - priority * interval '5 minutes'));

CREATE TABLE mailbox_state (
  mailbox_id      bigint PRIMARY KEY REFERENCES mailbox ON DELETE CASCADE,
  failures        integer NOT NULL DEFAULT 0,
  last_poll_at    timestamptz,
  last_success_at timestamptz,
  error_class     text CHECK (error_class IN ('transient', 'auth', 'permanent', 'poison')),
  error_code      text,
  error_text      text,
  error_hint      text,
  error_since     timestamptz,
  CONSTRAINT mailbox_state_error CHECK ((error_class IS NULL) = (error_text IS NULL) AND (error_class IS NULL) = (error_since IS NULL))
) WITH (fillfactor = 70);

-- How far a folder (IMAP) or maildrop (POP3, named INBOX) has been listed. Another account behind the same mailbox, or a
-- server that gives out UIDs again, gets a row of its own: identities of one row's receipts are those of one server.
CREATE TABLE folder_cursor (
  folder_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mailbox_id        bigint NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  account           text NOT NULL,
  name              text NOT NULL,
  epoch             integer NOT NULL DEFAULT 0 CHECK (epoch >= 0),
  uidvalidity       bigint CHECK (uidvalidity BETWEEN 1 AND 4294967295),
  uid_next          bigint CHECK (uid_next BETWEEN 1 AND 4294967296),
  start_uidvalidity bigint,
  start_uid_next    bigint,
  start_at          timestamptz NOT NULL,
  missed            bigint NOT NULL DEFAULT 0,
  messages          bigint,
  listed_at         timestamptz,
  UNIQUE (mailbox_id, account, name, epoch)
);
COMMENT ON COLUMN folder_cursor.account IS 'host/username, lower case, as in watched_folder';
COMMENT ON COLUMN folder_cursor.epoch IS 'how often UIDNEXT went back while UIDVALIDITY stayed: the server was restored; the newest counts';
COMMENT ON COLUMN folder_cursor.start_uid_next IS 'UIDNEXT of the first listing under start_uidvalidity: of what lies below, only what came since start_at is read';
COMMENT ON COLUMN folder_cursor.uid_next IS 'lowest UID that is not finished: all below have a receipt or came before the start point';
COMMENT ON COLUMN folder_cursor.missed IS 'mail that came and went between two listings, counted from UIDNEXT';

-- The raw store: octets once, by sha256, in chunks of 1 MiB, each its own zstd frame.
CREATE TABLE raw (
  raw_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sha256      bytea UNIQUE CHECK (octet_length(sha256) = 32),
  octets      bigint CHECK (octets >= 0),
  state       text NOT NULL CHECK (state IN ('loading', 'stored')),
  daemon_id   uuid,
  created_at  timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT raw_stored CHECK (state <> 'stored' OR (sha256 IS NOT NULL AND octets IS NOT NULL)),
  CONSTRAINT raw_loading CHECK (state <> 'loading' OR sha256 IS NULL)
);
CREATE INDEX raw_loading_rows ON raw (created_at) WHERE state = 'loading';
CREATE TABLE raw_chunk (
  raw_id      bigint NOT NULL REFERENCES raw ON DELETE CASCADE,
  ordinal     integer NOT NULL CHECK (ordinal >= 0),
  data        bytea NOT NULL,
  PRIMARY KEY (raw_id, ordinal)
);
ALTER TABLE raw_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- Counts the changes of records, so that a poll knows whether what it has read of them is still true.
CREATE TABLE records_version (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  version  bigint NOT NULL
);
INSERT INTO records_version (version) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION notify_mailbox_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE records_version SET version = version + 1;
  NOTIFY mailbox_changed;
  RETURN NULL;
END $$;
-- +goose StatementEnd
-- Records may be changed in a session that looks names up elsewhere.
-- +goose StatementBegin
DO $$ BEGIN EXECUTE format('ALTER FUNCTION notify_mailbox_changed() SET search_path = %I, pg_temp', current_schema()); END $$;
-- +goose StatementEnd
CREATE TRIGGER mailbox_changed AFTER INSERT OR UPDATE OR DELETE ON mailbox
  FOR EACH STATEMENT EXECUTE FUNCTION notify_mailbox_changed();
CREATE TRIGGER mailbox_address_changed AFTER INSERT OR UPDATE OR DELETE ON mailbox_address
  FOR EACH STATEMENT EXECUTE FUNCTION notify_mailbox_changed();
CREATE TRIGGER queue_changed AFTER INSERT OR UPDATE OR DELETE ON queue
  FOR EACH STATEMENT EXECUTE FUNCTION notify_mailbox_changed();
CREATE TRIGGER profile_changed AFTER INSERT OR UPDATE OR DELETE ON profile
  FOR EACH STATEMENT EXECUTE FUNCTION notify_mailbox_changed();

-- Who people are. An admin may name a view of the same columns over a CRM's own tables (config key parties.view).
CREATE VIEW party_directory AS
  SELECT lower(address) AS address, 'user' AS party_type, user_id::text AS party_id, name, user_id::text AS owner_id FROM user_account
  UNION ALL SELECT lower(address), 'queue', queue_id::text, name, owner_id::text FROM queue
  UNION ALL SELECT lower(address), 'contact', contact_id::text, name, owner_id::text FROM contact WHERE address IS NOT NULL
  UNION ALL SELECT lower(address), 'account', account_id::text, name, owner_id::text FROM account WHERE address IS NOT NULL
  UNION ALL SELECT lower(address), 'lead', lead_id::text, name, owner_id::text FROM lead WHERE address IS NOT NULL;

-- +goose Down
DROP VIEW party_directory;
DROP TABLE records_version, raw_chunk, raw, folder_cursor, mailbox_state, lease, daemon, watched_folder, mailbox_address, mailbox, profile,
  lead, contact, account, queue, user_account;
DROP FUNCTION notify_mailbox_changed;
