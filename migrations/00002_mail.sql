-- +goose Up
-- Receipts are the ledger, e-mails the identity of messages, activities what users see.

CREATE TABLE email (
  email_id          uuid PRIMARY KEY,
  identity          bytea NOT NULL CHECK (octet_length(identity) = 32),
  identity_version  smallint NOT NULL,
  variant           smallint NOT NULL DEFAULT 0 CHECK (variant >= 0),
  conflict_of       uuid REFERENCES email,
  message_id_digest bytea CHECK (octet_length(message_id_digest) = 16),
  first_seen_at     timestamptz NOT NULL DEFAULT now(),
  UNIQUE (identity, variant),
  CONSTRAINT email_conflict CHECK ((variant = 0) = (conflict_of IS NULL))
);
COMMENT ON TABLE email IS 'the identity of a message, however often and wherever it was met; outlives its activity';
COMMENT ON COLUMN email.variant IS '0: the first; above: another message that claims the same identity (conflict_of)';
CREATE INDEX email_conflict ON email (conflict_of) WHERE conflict_of IS NOT NULL;
CREATE INDEX email_message_id ON email (message_id_digest, email_id) WHERE message_id_digest IS NOT NULL;

CREATE TABLE receipt (
  receipt_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  folder_id         bigint NOT NULL REFERENCES folder_cursor ON DELETE CASCADE,
  uidvalidity       bigint,
  uid               bigint,
  unique_id_digest  bytea CHECK (octet_length(unique_id_digest) = 16),
  generation        integer,
  ordinal           integer,
  octets            bigint NOT NULL,
  internaldate      timestamptz,
  raw_id            bigint REFERENCES raw,
  state             text NOT NULL CHECK (state IN ('baseline', 'stored', 'finished')),
  outcome           text CHECK (outcome IN ('recorded', 'duplicate', 'ignored', 'quarantined')),
  reason            text,
  is_open           boolean NOT NULL DEFAULT true,
  tries             smallint,
  next_try_at       timestamptz,
  disposition       text CHECK (disposition IN ('due', 'copied', 'done', 'void')),
  dispose_at        timestamptz,
  seen_at           timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT receipt_identity CHECK (
    (uid IS NOT NULL AND uidvalidity IS NOT NULL AND unique_id_digest IS NULL AND generation IS NULL AND ordinal IS NULL) OR
    (uid IS NULL AND uidvalidity IS NULL AND unique_id_digest IS NOT NULL AND generation IS NOT NULL AND ordinal IS NOT NULL)),
  CONSTRAINT receipt_outcome CHECK ((state = 'finished') = (outcome IS NOT NULL)),
  CONSTRAINT receipt_reason CHECK (outcome NOT IN ('ignored', 'quarantined') OR reason IS NOT NULL),
  CONSTRAINT receipt_stored CHECK (state <> 'stored' OR (raw_id IS NOT NULL AND tries IS NOT NULL AND next_try_at IS NOT NULL)),
  CONSTRAINT receipt_kept CHECK (outcome NOT IN ('recorded', 'duplicate') OR raw_id IS NOT NULL),
  CONSTRAINT receipt_disposition CHECK (disposition IS NULL OR (state = 'finished' AND raw_id IS NOT NULL)),
  CONSTRAINT receipt_dispose_at CHECK (disposition IS NULL OR disposition NOT IN ('due', 'copied') OR dispose_at IS NOT NULL)
);
-- Not partial: it is also what removes the receipts of a folder that is removed.
CREATE UNIQUE INDEX receipt_imap ON receipt (folder_id, uidvalidity, uid);
CREATE UNIQUE INDEX receipt_pop3 ON receipt (folder_id, unique_id_digest, generation, ordinal) WHERE unique_id_digest IS NOT NULL;
CREATE INDEX receipt_open ON receipt (folder_id) WHERE is_open AND unique_id_digest IS NOT NULL;
CREATE INDEX receipt_raw ON receipt (raw_id);
CREATE INDEX receipt_stored ON receipt (folder_id, next_try_at) WHERE state = 'stored';
CREATE INDEX receipt_dispose ON receipt (folder_id, dispose_at) WHERE disposition IN ('due', 'copied');
CREATE INDEX receipt_quarantined ON receipt (reason, receipt_id) WHERE outcome = 'quarantined';
COMMENT ON COLUMN receipt.state IS 'baseline: listed at the start point, never read; stored: octets kept, decision to be made; finished: has its outcome';
COMMENT ON COLUMN receipt.is_open IS 'POP3: still in the newest complete listing';
COMMENT ON COLUMN receipt.reason IS 'the rule that ignored it, or why it is in quarantine: a code of docs/quarantine.md';

CREATE TABLE item (
  receipt_id    bigint NOT NULL REFERENCES receipt ON DELETE CASCADE,
  ordinal       smallint NOT NULL CHECK (ordinal >= 1),
  outcome       text NOT NULL CHECK (outcome IN ('recorded', 'duplicate', 'ignored', 'quarantined')),
  reason        text,
  email_id      uuid REFERENCES email,
  mailbox_id    bigint REFERENCES mailbox ON DELETE SET NULL,
  path          text NOT NULL,
  raw_id        bigint NOT NULL REFERENCES raw,
  raw_offset    bigint NOT NULL CHECK (raw_offset >= 0),
  octets        bigint NOT NULL CHECK (octets >= 0),
  PRIMARY KEY (receipt_id, ordinal),
  CONSTRAINT item_reason CHECK (outcome IN ('recorded', 'duplicate') OR reason IS NOT NULL),
  CONSTRAINT item_email CHECK (outcome NOT IN ('recorded', 'duplicate') OR email_id IS NOT NULL)
);
COMMENT ON TABLE item IS 'an original of a receipt, with an outcome of its own; its octets are a span of raw';
COMMENT ON COLUMN item.mailbox_id IS 'the recipient mailbox, as far as it is known';
CREATE INDEX item_email ON item (email_id);
CREATE INDEX item_raw ON item (raw_id);
CREATE INDEX item_mailbox ON item (mailbox_id) WHERE mailbox_id IS NOT NULL;
CREATE INDEX item_quarantined ON item (reason, receipt_id) WHERE outcome = 'quarantined';

CREATE TABLE activity (
  activity_id     uuid PRIMARY KEY,
  email_id        uuid NOT NULL UNIQUE REFERENCES email,
  version         integer NOT NULL DEFAULT 1 CHECK (version >= 1),
  direction       text NOT NULL CHECK (direction IN ('incoming', 'outgoing', 'internal')),
  status          text NOT NULL CHECK (status IN ('received')),
  class           text NOT NULL,
  mailbox_id      bigint REFERENCES mailbox ON DELETE SET NULL,
  owner_id        text,
  regarding_type  text,
  regarding_id    text,
  parent_activity_id uuid REFERENCES activity ON DELETE SET NULL,
  correlation     text CHECK (correlation IN ('in_reply_to', 'references')),
  subject         text NOT NULL,
  message_id      text,
  in_reply_to     text[] NOT NULL DEFAULT '{}',
  reference_ids   text[] NOT NULL DEFAULT '{}',
  sent_at         timestamptz,
  sent_offset     integer,
  sent_raw        text,
  sent_source     text NOT NULL CHECK (sent_source IN ('date', 'received', 'internaldate', 'none')),
  received_at     timestamptz NOT NULL,
  recorded_at     timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  authenticated   boolean NOT NULL,
  text_body       text NOT NULL,
  html_body       text NOT NULL DEFAULT '',
  words_digest    bytea NOT NULL CHECK (octet_length(words_digest) = 32),
  body_truncated  boolean NOT NULL DEFAULT false,
  attachments     integer NOT NULL DEFAULT 0,
  defects         text[] NOT NULL DEFAULT '{}',
  raw_id          bigint NOT NULL REFERENCES raw,
  raw_offset      bigint NOT NULL,
  octets          bigint NOT NULL,
  CONSTRAINT activity_correlation CHECK ((parent_activity_id IS NULL) OR (correlation IS NOT NULL)),
  CONSTRAINT activity_sent CHECK ((sent_at IS NULL) = (sent_source = 'none'))
);
CREATE INDEX activity_mailbox ON activity (mailbox_id, received_at DESC);
CREATE INDEX activity_received ON activity (received_at DESC);
CREATE INDEX activity_parent ON activity (parent_activity_id) WHERE parent_activity_id IS NOT NULL;
CREATE INDEX activity_raw ON activity (raw_id);

CREATE TABLE party (
  activity_id   uuid NOT NULL REFERENCES activity ON DELETE CASCADE,
  ordinal       smallint NOT NULL,
  role          text NOT NULL CHECK (role IN ('from', 'sender', 'reply_to', 'to', 'cc', 'bcc', 'recipient_mailbox', 'owner')),
  name          text NOT NULL DEFAULT '',
  address       text NOT NULL DEFAULT '',
  address_digest bytea CHECK (octet_length(address_digest) = 16),
  party_type    text,
  party_id      text,
  owner_id      text,
  resolved_at   timestamptz,
  PRIMARY KEY (activity_id, ordinal),
  CONSTRAINT party_resolved CHECK ((party_type IS NULL) = (party_id IS NULL))
);
CREATE INDEX party_address ON party (address_digest) WHERE address_digest IS NOT NULL;
CREATE INDEX party_party ON party (party_type, party_id) WHERE party_id IS NOT NULL;
COMMENT ON COLUMN party.address_digest IS 'first 16 octets of sha256 of the folded address: senders choose addresses, so they are not indexed themselves';
COMMENT ON COLUMN party.resolved_at IS 'when party_directory was asked; null: it could not be asked yet';

CREATE TABLE attachment (
  activity_id   uuid NOT NULL REFERENCES activity ON DELETE CASCADE,
  ordinal       smallint NOT NULL,
  path          text NOT NULL,
  filename      text NOT NULL DEFAULT '',
  media_type    text NOT NULL,
  content_id    text NOT NULL DEFAULT '',
  is_inline     boolean NOT NULL,
  octets        bigint NOT NULL,
  sha256        bytea NOT NULL CHECK (octet_length(sha256) = 32),
  raw_offset    bigint NOT NULL CHECK (raw_offset >= 0),
  raw_length    bigint NOT NULL CHECK (raw_length >= 0),
  encoding      text NOT NULL CHECK (encoding IN ('identity', 'base64', 'quoted-printable', 'uuencode')),
  PRIMARY KEY (activity_id, ordinal)
);
COMMENT ON COLUMN attachment.raw_offset IS 'from the start of the activity''s octets (activity.raw_id at activity.raw_offset)';
COMMENT ON COLUMN attachment.octets IS 'decoded';

CREATE TABLE sighting (
  sighting_id   uuid PRIMARY KEY,
  email_id      uuid NOT NULL REFERENCES email,
  mailbox_id    bigint NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  receipt_id    bigint NOT NULL,
  ordinal       smallint NOT NULL,
  via_mailbox_id bigint REFERENCES mailbox ON DELETE SET NULL,
  sha256        bytea NOT NULL CHECK (octet_length(sha256) = 32),
  text_digest   bytea NOT NULL CHECK (octet_length(text_digest) = 32),
  text_length   bigint NOT NULL,
  text_heads    bytea NOT NULL DEFAULT '',
  attachments_digest bytea NOT NULL CHECK (octet_length(attachments_digest) = 32),
  attachments   integer NOT NULL,
  authenticated boolean NOT NULL,
  authentication text NOT NULL,
  seen_at       timestamptz NOT NULL DEFAULT now(),
  UNIQUE (email_id, mailbox_id, sha256),
  FOREIGN KEY (receipt_id, ordinal) REFERENCES item ON DELETE CASCADE
);
COMMENT ON COLUMN sighting.text_heads IS '8 octets of sha256 of the first 64 octets of the normalised text, of the first 128, and so on: they compare texts when the text itself is gone';
COMMENT ON TABLE sighting IS 'one e-mail met in one mailbox; an identical copy in the same mailbox adds none';
CREATE INDEX sighting_mailbox ON sighting (mailbox_id, seen_at DESC);
CREATE INDEX sighting_via ON sighting (via_mailbox_id) WHERE via_mailbox_id IS NOT NULL;
CREATE INDEX sighting_item ON sighting (receipt_id, ordinal);

-- Kept by month and dropped by month.
CREATE TABLE trace (
  receipt_id  bigint NOT NULL,
  at          timestamptz NOT NULL DEFAULT now(),
  steps       jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX trace_receipt ON trace (receipt_id);
CREATE TABLE trace_default PARTITION OF trace DEFAULT;

CREATE TABLE event (
  seq         bigint GENERATED ALWAYS AS IDENTITY,
  xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at          timestamptz NOT NULL DEFAULT now(),
  kind        text NOT NULL CHECK (kind IN ('activity.created', 'activity.upgraded', 'activity.sighted', 'email.conflict')),
  activity_id uuid NOT NULL,
  version     integer NOT NULL,
  PRIMARY KEY (at, seq)
) PARTITION BY RANGE (at);
CREATE INDEX event_order ON event (xid, seq);
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- A reader with a cursor (xid, seq) over this view never misses an event: what is below the snapshot's xmin is complete.
CREATE VIEW events_ready AS
  SELECT xid, seq, at, kind, activity_id, version FROM event
  WHERE xid < pg_snapshot_xmin(pg_current_snapshot());

-- Makes the partitions of the month of day and the month after. Rows that fell into a default partition stay there.
-- +goose StatementBegin
CREATE FUNCTION ensure_partitions(day timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  parent text;
  lower_bound timestamptz;
  child text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('postroom.ensure_partitions'));
  FOREACH parent IN ARRAY ARRAY['trace', 'event'] LOOP
    FOR n IN 0..1 LOOP
      lower_bound := (date_trunc('month', day AT TIME ZONE 'UTC') + make_interval(months => n)) AT TIME ZONE 'UTC';
      child := parent || to_char(lower_bound AT TIME ZONE 'UTC', '_YYYYMM');
      IF to_regclass(child) IS NULL THEN
        BEGIN
          EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, lower_bound,
            ((lower_bound AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
        EXCEPTION WHEN check_violation THEN
          NULL; -- the default partition already holds rows of this month: they stay there
        END;
      END IF;
    END LOOP;
  END LOOP;
END $$;
-- +goose StatementEnd
-- A function that runs as its owner must not look names up where its caller says.
-- +goose StatementBegin
DO $$ BEGIN EXECUTE format('ALTER FUNCTION ensure_partitions(timestamptz) SET search_path = %I, pg_temp', current_schema()); END $$;
-- +goose StatementEnd
SELECT ensure_partitions(now());

-- +goose Down
DROP VIEW events_ready;
DROP FUNCTION ensure_partitions;
DROP TABLE event, trace, sighting, attachment, party, activity, item, receipt, email;
