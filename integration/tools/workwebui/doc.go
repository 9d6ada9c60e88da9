// Package workwebui tests that gocraft/work's web interface,
// github.com/gocraft/work/webui, shows our jobs and can retry dead ones.
package workwebui
