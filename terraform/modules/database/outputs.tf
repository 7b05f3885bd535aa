output "url" {
  description = "Address of the database in the private network, with user and password."
  value = format(
    "postgresql://%s:%s@%s:%s/%s?sslmode=require",
    urlencode(digitalocean_database_user.flowrunner.name),
    urlencode(digitalocean_database_user.flowrunner.password),
    digitalocean_database_cluster.this.private_host,
    digitalocean_database_cluster.this.port,
    digitalocean_database_db.flowrunner.name,
  )
  sensitive = true
}

output "port" {
  description = "Port of the database; no secret, as egress rules name it."
  value       = digitalocean_database_cluster.this.port
}
