# A straight line through a series of numbers, and where it leads. Base R only.

fail <- function(...) {
  message("fit_trend: ", ...)
  quit(status = 1)
}

# A parameter is in ATTUNE_ACTION_<NAME>; whatever is not a string is there as JSON text, such as [1,2.5,3].
parameter <- function(name, otherwise) Sys.getenv(paste0("ATTUNE_ACTION_", toupper(name)), otherwise)
numbers <- function(name, otherwise) {
  text <- gsub("[][[:space:]]", "", parameter(name, otherwise))
  values <- suppressWarnings(as.numeric(strsplit(text, ",", fixed = TRUE)[[1]]))
  if (!all(is.finite(values))) fail("parameter ", name, " has to hold finite numbers, not ", text)
  values
}

# Just enough JSON for numbers: joined text of members, null for what JSON cannot express.
json_number <- function(x) ifelse(is.finite(x), sprintf("%.10g", x), "null")
json_object <- function(names, values) paste0("{", paste0('"', names, '":', values, collapse = ","), "}")

series <- numbers("series", "[1,2,4]")
ahead <- numbers("ahead", "3")
confidence <- numbers("confidence", "0.95")
probabilities <- numbers("quantiles", "[0.5]")
if (length(series) < 3) fail("a trend needs at least 3 numbers, not ", length(series))
if (any(probabilities < 0 | probabilities > 1)) fail("a quantile has to be between 0 and 1")

position <- seq_along(series)
model <- lm(series ~ position)
r_squared <- 1 - sum(residuals(model)^2) / sum((series - mean(series))^2)
if (diff(range(series)) == 0) r_squared <- NaN # a constant series leaves nothing to explain
cat(sprintf("%d numbers from %g to %g\n", length(series), min(series), max(series)))
cat(sprintf("  trend: %+.4g a step, starting at %.4g; R squared %.3f\n", coef(model)[2], coef(model)[1], r_squared))

forecast <- character(0)
if (ahead > 0) {
  following <- length(series) + seq_len(ahead)
  predicted <- predict(model, data.frame(position = following), interval = "prediction", level = confidence)
  cat(sprintf("  step %d: %.4g, %g %% between %.4g and %.4g\n",
              following, predicted[, "fit"], 100 * confidence, predicted[, "lwr"], predicted[, "upr"]), sep = "")
  forecast <- apply(cbind(following, predicted), 1, function(row) {
    json_object(c("position", "value", "lower", "upper"), json_number(row))
  })
}

cat(json_object(
  c("n", "slope", "intercept", "r_squared", "quantiles", "forecast"),
  c(length(series), json_number(coef(model)[2]), json_number(coef(model)[1]), json_number(r_squared),
    if (length(probabilities)) json_object(probabilities, json_number(quantile(series, probabilities))) else "{}",
    paste0("[", paste(forecast, collapse = ","), "]"))
), "\n", sep = "")
