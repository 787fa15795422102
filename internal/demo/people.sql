-- Who the people are: the demo's stand-in for a CRM's own tables, which the view party_directory reads.
WITH firm AS (
  INSERT INTO account (name, address) VALUES
    ('Lindqvist Water Works', 'office@example.org'),
    ('Harbour Foods', 'purchasing@example.org'),
    ('Northgate Supplies', 'prices@example.net')
  RETURNING account_id, name
), person AS (
  INSERT INTO contact (name, address, account_id)
  SELECT c.name, c.address, firm.account_id
  FROM (VALUES
    ('Petra Lindqvist', 'petra.lindqvist@example.org', 'Lindqvist Water Works'),
    ('Tom Okafor', 'tom.okafor@example.net', NULL),
    ('Ines Costa', 'ines.costa@example.org', 'Lindqvist Water Works'),
    ('Grace Mbeki', 'grace.mbeki@example.org', NULL)
  ) AS c (name, address, firm) LEFT JOIN firm ON firm.name = c.firm
)
INSERT INTO lead (name, address) VALUES ('Hana Kim', 'hana.kim@example.net'), ('Mira Patel', 'mira.patel@example.org');
