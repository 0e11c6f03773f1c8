CREATE TABLE simulated_2 (id bigserial PRIMARY KEY);
