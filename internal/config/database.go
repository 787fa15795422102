package config

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// PasswordCredential is the systemd credential that is read when database.password_file is not set.
const PasswordCredential = "database_password"

func (v *checker) database() {
	d := v.c.Database
	v.check(identifier.MatchString(d.Schema), "database.schema", "is not the name of a schema", "write lower-case letters, digits and _, at most 63, such as postroom")
	v.check(!strings.HasPrefix(d.Schema, "pg_") && d.Schema != "information_schema", "database.schema", "is a schema of PostgreSQL's own", "write another name, such as postroom")
	oneOf(v, "database.durability", d.Durability, Local, On, RemoteApply)
	between(v, "database.max_connections", d.MaxConnections, 4, 1000)
	v.check(d.PasswordFile == "" || filepath.IsAbs(d.PasswordFile) || credentialName(d.PasswordFile) != "", "database.password_file",
		"is neither an absolute path nor a credential", "write /path/to/file, or credential:name for a file of $CREDENTIALS_DIRECTORY")
	if d.URL == "" {
		v.check(d.PasswordFile == "", "database.password_file", "has no use without database.url", "write database.url, or take this out")
		return
	}
	v.url(d)
}

func (v *checker) url(d Database) {
	const key = "database.url"
	u, err := url.Parse(d.URL)
	v.check(err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql"), key, "is not a PostgreSQL URL",
		"write postgres://user@host:5432/database, with special characters percent-encoded")
	if v.found.met(key) || err != nil {
		return
	}
	// The errors of this parser hold what it was given, and so perhaps a password: only that it refused is told.
	parsed, err := pgconn.ParseConfig(d.URL)
	v.check(err == nil, key, "is a URL that PostgreSQL's client refuses", "check its port, its parameters and the files that they name")
	v.inlinePassword(d)
	if err == nil && !isLocal(parsed.Host) && (parsed.TLSConfig == nil || parsed.TLSConfig.InsecureSkipVerify) {
		v.found.warn("database.url goes to %s without a verified certificate: add sslmode=verify-full (and sslrootcert=FILE)", parsed.Host)
	}
}

// inlinePassword refuses a password in the file, which is copied and shown around, and warns of one in the environment.
func (v *checker) inlinePassword(d Database) {
	if !hasPassword(d.URL) {
		return
	}
	fromEnv := strings.HasPrefix(v.c.origins["database.url"], "$")
	v.check(fromEnv, "database.url", "holds a password", "take it out, write it to a file that only Postroom's user can read, and name that in database.password_file")
	v.check(d.PasswordFile == "", "database.password_file", "is given, and database.url holds a password too", "keep one of them")
	if fromEnv {
		v.found.warn("$POSTROOM_DATABASE_URL holds a password, which other processes of this user can see: database.password_file is safer")
	}
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" || ip != nil && ip.IsLoopback()
}

// credentialName returns name of "credential:name", "" if ref is something else or name is not one.
func credentialName(ref string) string {
	name, ok := strings.CutPrefix(ref, "credential:")
	if !ok || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return ""
	}
	return name
}

// redactURL returns raw without its password; what cannot be parsed is not shown at all.
func redactURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		for _, name := range []string{"password", "sslpassword"} {
			if q.Has(name) {
				q.Set(name, "xxxxx")
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}
