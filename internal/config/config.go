// Package config reads the daemon's configuration: one YAML file and the environment, merged into one typed Config.
//
// It opens no connection and changes nothing. Invariants: every key has a default, in one place (Default); what is not
// understood is refused, never ignored (unknown keys and names, values without a unit, contradictions); all faults are
// reported at once, each with its key, where it stands and the way to mend it; no secret stands in a Config, it names the
// file that holds it; nothing that is printed shows a password.
package config

import (
	"log/slog"
	"time"
)

// Config is the whole configuration. Sizes are octets, times are durations; the zero value is not valid, see Default.
type Config struct {
	Database  Database  `mapstructure:"database"`
	DataDir   string    `mapstructure:"data_dir"`  // absolute; the PostgreSQL that Postroom starts itself lives here
	SpoolDir  string    `mapstructure:"spool_dir"` // absolute; "": the system's directory for temporary files
	Log       Log       `mapstructure:"log"`
	Admin     Admin     `mapstructure:"admin"`
	Scheduler Scheduler `mapstructure:"scheduler"`
	Limits    Limits    `mapstructure:"limits"`
	Parties   Parties   `mapstructure:"parties"`

	credentialsDir string
	origins        map[string]string // key → where its value stands; absent: default
}

// Database says where the records are kept.
type Database struct {
	URL            string     `mapstructure:"url"`           // postgres://…; "": Postroom starts a PostgreSQL of its own in DataDir
	PasswordFile   string     `mapstructure:"password_file"` // absolute path, or "credential:name" for a systemd credential
	Schema         string     `mapstructure:"schema"`
	Durability     Durability `mapstructure:"durability"`
	MaxConnections int        `mapstructure:"max_connections"`
	Migrate        bool       `mapstructure:"migrate"` // serve brings the schema up to date by itself
}

// Durability is the synchronous_commit of Postroom's sessions.
type Durability string

// The durabilities.
const (
	Local       Durability = "local"        // flushed on this server, standbys are not waited for
	On          Durability = "on"           // as local, and by the synchronous standbys if there are any
	RemoteApply Durability = "remote_apply" // as on, and visible on them
)

// Log says what is logged and how.
type Log struct {
	Level  string    `mapstructure:"level"` // debug, info, warn or error
	Format LogFormat `mapstructure:"format"`
}

// SlogLevel returns Level as package slog knows it; info for one that is not valid.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// LogFormat is how log lines look.
type LogFormat string

// The log formats.
const (
	Text    LogFormat = "text"
	JSON    LogFormat = "json"
	Journal LogFormat = "journal" // text without time, with the priority prefix that systemd's journal reads (sd-daemon)
)

// Admin says where health is served.
type Admin struct {
	Listen string `mapstructure:"listen"` // host:port; "": off
}

// Scheduler says how polls are spread.
type Scheduler struct {
	Workers    int           `mapstructure:"workers"`     // polls at the same time in this daemon
	PerHost    int           `mapstructure:"per_host"`    // of them to one mail server
	Heartbeat  time.Duration `mapstructure:"heartbeat"`   // how often a daemon says that it is alive
	StaleAfter time.Duration `mapstructure:"stale_after"` // after this silence other daemons take its work over
	Drain      time.Duration `mapstructure:"drain"`       // what running polls get to finish when the daemon is stopped
}

// Limits bound what is taken at a time.
type Limits struct {
	BatchMessages  int    `mapstructure:"batch_messages"`   // messages in one transaction
	BatchOctets    Octets `mapstructure:"batch_octets"`     // octets in one transaction
	OctetsInFlight Octets `mapstructure:"octets_in_flight"` // octets read and not yet committed, in this daemon
	Tries          int    `mapstructure:"tries"`            // before a message that cannot be decided is quarantined
}

// Parties says who people are.
type Parties struct {
	View    string        `mapstructure:"view"`    // view of the columns of party_directory, with or without a schema
	Timeout time.Duration `mapstructure:"timeout"` // of one query to it
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Database: Database{
			Schema:         "postroom",
			Durability:     On,
			MaxConnections: 16,
			Migrate:        true,
		},
		DataDir: "/var/lib/postroom",
		Log:     Log{Level: "info", Format: Text},
		Admin:   Admin{Listen: "127.0.0.1:8025"},
		Scheduler: Scheduler{
			Workers:    8,
			PerHost:    4,
			Heartbeat:  5 * time.Second,
			StaleAfter: 30 * time.Second,
			Drain:      30 * time.Second,
		},
		Limits: Limits{
			BatchMessages:  50,
			BatchOctets:    4 << 20,
			OctetsInFlight: 256 << 20,
			Tries:          5,
		},
		Parties: Parties{View: "party_directory", Timeout: 2 * time.Second},
	}
}
