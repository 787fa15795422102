// Package e2e tests Postroom as an admin runs it: the built binary with its configuration file and commands, against a
// real Dovecot and a real PostgreSQL. It holds nothing but tests.
//
// What is true is taken from the servers and from SQL, read by the tests themselves: plain sockets, no code of the
// sources that are tested. The binary is built once a run, with the race detector if the tests run with it.
package e2e
