// Package river tests riverexec on SQLite files and, with the build tag
// realservers, on PostgreSQL.
package river
