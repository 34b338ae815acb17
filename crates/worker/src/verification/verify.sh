echo "this interpreter runs scripts"
