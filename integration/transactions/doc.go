// Package transactions tests airlocksql with a real database/sql driver.
package transactions
