-- An office for tests of queries. The octets of letter.eml must be in the raw store before.
INSERT INTO user_account (user_id, name, address) OVERRIDING SYSTEM VALUE VALUES (1, 'alice', 'alice@corp.example'), (2, 'bob', 'bob@corp.example'), (3, 'carol', 'carol@corp.example');
INSERT INTO queue (queue_id, name, address) OVERRIDING SYSTEM VALUE VALUES (1, 'support', 'support@corp.example');
INSERT INTO profile (profile_id, name, protocol, host, port, tls) OVERRIDING SYSTEM VALUE
  VALUES (1, 'office', 'imap', 'mail.corp.example', 993, 'implicit'), (2, 'old', 'pop3', 'pop.corp.example', 995, 'implicit');
INSERT INTO mailbox (mailbox_id, name, kind, address, user_id, queue_id, incoming, profile_id, username, secret_ref, disposition, trust, enabled, enabled_at)
  OVERRIDING SYSTEM VALUE VALUES
  (1, 'alice',   'user',    'alice@corp.example',   1, NULL, 'server_side', 1, 'alice', 'file:/run/alice', 'leave', 'enforce', true, now() - interval '2 days'),
  (2, 'support', 'queue',   'support@corp.example', NULL, 1, 'server_side', 2, 'support', 'file:/run/support', 'delete', 'enforce', true, now() - interval '2 days'),
  (3, 'central', 'forward', 'central@corp.example', NULL, NULL, 'server_side', 1, 'central', 'file:/run/central', 'leave', 'warn', true, now() - interval '30 seconds'),
  (4, 'bob',     'user',    'bob@corp.example',     2, NULL, 'forward_mailbox', NULL, '', '', 'leave', 'enforce', true, now()),
  (5, 'carol',   'user',    'carol@corp.example',   3, NULL, 'server_side', 1, 'carol', 'file:/run/carol', 'leave', 'enforce', false, NULL);
INSERT INTO mailbox_address VALUES ('alice@corp.example', 1, true), ('a@corp.example', 1, false), ('support@corp.example', 2, true),
  ('central@corp.example', 3, true), ('bob@corp.example', 4, true), ('carol@corp.example', 5, true);
INSERT INTO daemon (daemon_id, host, pid, version, heartbeat_at) VALUES
  ('00000000-0000-7000-8000-00000000000a', 'hosta', 11, 'v1', now()), ('00000000-0000-7000-8000-00000000000b', 'hostb', 12, 'v1', now() - interval '10 minutes');
INSERT INTO lease (kind, target_id, next_at, daemon_id, token) VALUES
  ('mailbox', 1, now() + interval '30 seconds', NULL, 7), ('mailbox', 2, now() + interval '1 hour', '00000000-0000-7000-8000-00000000000b', 3),
  ('mailbox', 3, now(), '00000000-0000-7000-8000-00000000000a', 1);
INSERT INTO mailbox_state (mailbox_id, failures, last_poll_at, last_success_at, error_class, error_code, error_text, error_hint, error_since) VALUES
  (1, 0, now(), now(), NULL, NULL, NULL, NULL, NULL),
  (2, 4, now(), now() - interval '3 hours', 'auth', 'login_refused', 'the server refused the password', 'write the new password to the file', now() - interval '3 hours');
INSERT INTO folder_cursor (folder_id, mailbox_id, account, name, uidvalidity, uid_next, start_at, missed, messages, listed_at) OVERRIDING SYSTEM VALUE VALUES
  (1, 1, 'mail.corp.example/alice', 'INBOX', 99, 6, now() - interval '2 days', 2, 5, now()),
  (2, 2, 'pop.corp.example/support', 'INBOX', NULL, NULL, now() - interval '2 days', 0, 3, now()),
  (3, 3, 'mail.corp.example/central', 'INBOX', 5, 3, now() - interval '1 minute', 0, 2, now());
INSERT INTO email (email_id, identity, identity_version, message_id_digest) VALUES
  ('00000000-0000-7000-8000-0000000000e1', sha256('one'), 1, substr(sha256('one@customer.example'), 1, 16)),
  ('00000000-0000-7000-8000-0000000000e2', sha256('two'), 1, substr(sha256('two@customer.example'), 1, 16));
INSERT INTO receipt (receipt_id, folder_id, uidvalidity, uid, unique_id_digest, generation, ordinal, octets, raw_id, state, outcome, reason, tries, next_try_at, disposition, dispose_at, seen_at)
  OVERRIDING SYSTEM VALUE VALUES
  (11, 1, 99, 5, NULL, NULL, NULL, 465, (SELECT max(raw_id) FROM raw), 'finished', 'recorded', NULL, NULL, NULL, NULL, NULL, now() - interval '1 hour'),
  (12, 2, NULL, NULL, substr(sha256('u'), 1, 16), 0, 0, 465, (SELECT max(raw_id) FROM raw), 'finished', 'duplicate', NULL, NULL, NULL, 'due', now(), now() - interval '50 minutes'),
  (13, 3, 5, 1, NULL, NULL, NULL, 465, (SELECT max(raw_id) FROM raw), 'finished', 'quarantined', 'untrusted', NULL, NULL, NULL, NULL, now() - interval '40 minutes'),
  (14, 1, 99, 4, NULL, NULL, NULL, 99999999, NULL, 'finished', 'quarantined', 'too_large', NULL, NULL, NULL, NULL, now() - interval '30 minutes'),
  (15, 1, 99, 3, NULL, NULL, NULL, 465, (SELECT max(raw_id) FROM raw), 'stored', NULL, NULL, 2, now(), NULL, NULL, now() - interval '20 minutes'),
  (16, 1, 99, 2, NULL, NULL, NULL, 465, NULL, 'baseline', NULL, NULL, NULL, NULL, NULL, NULL, now() - interval '2 days'),
  (17, 1, 99, 1, NULL, NULL, NULL, 465, NULL, 'finished', 'ignored', 'vanished', NULL, NULL, NULL, NULL, now() - interval '1 day'),
  (18, 3, 5, 2, NULL, NULL, NULL, 465, (SELECT max(raw_id) FROM raw), 'finished', 'quarantined', 'untrusted', NULL, NULL, NULL, NULL, now() - interval '10 minutes');
INSERT INTO item (receipt_id, ordinal, outcome, reason, email_id, mailbox_id, path, raw_id, raw_offset, octets) VALUES
  (11, 1, 'recorded',    NULL, '00000000-0000-7000-8000-0000000000e1', 1, '', (SELECT max(raw_id) FROM raw), 0, 465),
  (12, 1, 'duplicate',   NULL, '00000000-0000-7000-8000-0000000000e1', 2, '', (SELECT max(raw_id) FROM raw), 0, 465),
  (13, 1, 'quarantined', 'untrusted', NULL, 4, '2', (SELECT max(raw_id) FROM raw), 0, 465),
  (18, 1, 'quarantined', 'untrusted', NULL, 4, '2', (SELECT max(raw_id) FROM raw), 0, 200),
  (18, 2, 'recorded',    NULL, '00000000-0000-7000-8000-0000000000e2', 4, '3', (SELECT max(raw_id) FROM raw), 0, 200);
INSERT INTO activity (activity_id, email_id, direction, status, class, mailbox_id, subject, message_id, sent_at, sent_source, received_at, authenticated, text_body, attachments, raw_id, raw_offset, octets, words_digest) VALUES
  ('00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000e1', 'incoming', 'received', 'ordinary', 1,
   E'Invoice \x1b[31mred', 'one@customer.example', now() - interval '2 hours', 'date', now() - interval '1 hour', true, E'Please pay.\r\n\x1b[2Jbye', 1,
   (SELECT max(raw_id) FROM raw), 0, 465, sha256('words'));
INSERT INTO party (activity_id, ordinal, role, name, address, address_digest, party_type, party_id, resolved_at) VALUES
  ('00000000-0000-7000-8000-0000000000a1', 0, 'from', 'Ann Customer', 'Ann@customer.example', substr(sha256('ann@customer.example'), 1, 16), 'contact', '5', now()),
  ('00000000-0000-7000-8000-0000000000a1', 1, 'to', '', 'support@corp.example', substr(sha256('support@corp.example'), 1, 16), NULL, NULL, NULL);
INSERT INTO attachment (activity_id, ordinal, path, filename, media_type, is_inline, octets, sha256, raw_offset, raw_length, encoding) VALUES
  ('00000000-0000-7000-8000-0000000000a1', 1, '2', 'invoice.zip', 'application/zip', false, 63, '\xa5e48a738dc4964cec64801ed262c190859bdd6b3b7ee82de05d121131feb1ae', 372, 84, 'base64');
INSERT INTO sighting (sighting_id, email_id, mailbox_id, receipt_id, ordinal, sha256, text_digest, text_length, attachments_digest, attachments, authenticated, authentication, seen_at) VALUES
  ('00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000e1', 1, 11, 1, sha256('a'), sha256('t'), 11, sha256('x'), 1, true, 'direct', now() - interval '1 hour'),
  ('00000000-0000-7000-8000-0000000000c2', '00000000-0000-7000-8000-0000000000e1', 2, 12, 1, sha256('b'), sha256('t'), 11, sha256('x'), 1, true, 'direct', now() - interval '50 minutes');
INSERT INTO trace (receipt_id, steps) VALUES
  (11, '[{"stage":"fetch","code":"fetched","args":{"octets":"465","folder":"INBOX"}},{"stage":"classify","code":"class","args":{"class":"ordinary","reason":"no wrapper"},"item":1}]'),
  (13, '[{"stage":"trust","code":"a_code_of_the_future","args":{"why":"x"}}]');
